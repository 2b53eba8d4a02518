import hashlib
import json

from vqpriors.core.artifact import new_folder
from vqpriors.publish.integrity import cache_objects, cache_path, find_damage, is_intact, list_files


def store(cache, contents, suffix=""):
    digest = hashlib.md5(contents).hexdigest() + suffix
    path = cache_path(cache, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)
    return digest


def test_flipped_bit_in_an_object_is_found(tmp_path):
    path = cache_path(tmp_path, store(tmp_path, b"codes"))
    assert is_intact(path)
    path.write_bytes(b"codez")
    assert not is_intact(path)


def test_listing_is_hashed_like_any_object_and_lists_the_files_of_a_folder(tmp_path):
    entries = [{"md5": "ab" * 16, "relpath": "model.safetensors"}]
    digest = store(tmp_path, json.dumps(entries).encode(), ".dir")
    assert is_intact(cache_path(tmp_path, digest))
    assert list_files(tmp_path, digest) == [("model.safetensors", "ab" * 16)]
    assert list(cache_objects(tmp_path)) == [cache_path(tmp_path, digest)]


def test_file_lists_itself_and_an_unreadable_listing_nothing(tmp_path):
    assert list_files(tmp_path, "ab" * 16) == [("", "ab" * 16)]
    assert list_files(tmp_path, store(tmp_path, b"[{]", ".dir")) == []
    assert list_files(tmp_path, store(tmp_path, b"[1]", ".dir")) == []
    assert list_files(tmp_path, "cd" * 16 + ".dir") == []


def test_damage_names_the_file(tmp_path):
    with new_folder(tmp_path / "tokens") as folder:
        (folder / "codes").write_bytes(b"codes")
    codes = tmp_path / "tokens/codes"
    assert find_damage(codes.parent) is None
    codes.write_bytes(b"codez")
    assert find_damage(codes.parent) == f"{codes}: damaged (its SHA-256 is not the manifest's)"
    codes.unlink()
    assert find_damage(codes.parent) == f"{codes}: missing"
    (codes.parent / "manifest.json").unlink()
    assert find_damage(codes.parent) == f"{codes.parent}/manifest.json: missing"
