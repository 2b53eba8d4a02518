"""Every number of metrics.json, computed again from the artifacts in a few lines."""

import io
import json
import math
from collections import Counter
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from torchmetrics.functional.image import structural_similarity_index_measure

from tests.checkout import TINY, copy_checkout, ran, run
from vqpriors.core.artifact import verify
from vqpriors.core.seeds import derived_seed
from vqpriors.evaluation.base.inputs import Inputs
from vqpriors.judge.base.colorless import colorless
from vqpriors.judge.base.judge import load_judge
from vqpriors.priors.base.loading import load_prior
from vqpriors.text.base.encoder import load_encoder
from vqpriors.tokenizer.base.loading import load_tokenizer

CPU = torch.device("cpu")


def read(folder, split):
    table = pd.concat(pd.read_parquet(p) for p in sorted(folder.glob(f"{split}-*.parquet")))
    return table.reset_index(drop=True)


def metrics_of(folder):
    return json.loads((folder / "metrics/evaluate/metrics.json").read_text())


def pixels_of(files):
    return np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files])


def clustered(values, groups):
    sums = pd.Series(np.asarray(values, float) - np.mean(values)).groupby(list(groups)).sum()
    return math.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(values)


def rms(first, second):
    return np.sqrt(((first.astype(float) - second) ** 2).mean()) / 255


@torch.inference_mode()
def computed(folder):
    """Return all metrics of a run of digits with the transformer."""
    data = folder / "data"
    tokenizer, spec = load_tokenizer(data / "tokenizer", CPU)
    judge, fingerprint = load_judge(data / "judge", CPU)
    prior = load_prior(
        data / "prior", CPU, tokenizer=spec.fingerprint, encoder=verify(data / "text")
    )
    encoder = load_encoder(data / "text")
    images = {split: read(data / "images", split) for split in ("train", "test")}
    codes = {split: np.stack(read(data / "tokens", split)["codes"].tolist()) for split in images}
    samples = pd.read_parquet(data / "samples/samples.parquet")
    real = images["test"]
    real["attributes"] = [dict(pairs) for pairs in real["attributes"]]
    images["train"]["attributes"] = [dict(pairs) for pairs in images["train"]["attributes"]]

    def decode(rows):
        x = tokenizer.decode(torch.from_numpy(rows.astype(np.int64)))
        return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()

    def judged(pixels):
        features = judge.features(torch.from_numpy(pixels).float() / 127.5 - 1)
        best = [logits.argmax(1).numpy() for logits in judge.logits(features)]
        rows = [
            {
                name: judge.classes[name][column[i]]
                for name, column in zip(judge.classes, best, strict=True)
            }
            for i in range(len(pixels))
        ]
        return features.numpy(), features[:, : judge.num_shape_features].numpy(), rows

    raw = {
        split: pixels_of(io.BytesIO(i) for i in table["image"]) for split, table in images.items()
    }
    via = {split: decode(rows) for split, rows in codes.items()}
    drawn = pixels_of(data / "samples" / name for name in samples["file"])
    np.testing.assert_array_equal(drawn, decode(np.stack(samples["codes"].tolist())))
    features, shapes, found = judged(drawn)
    real_features, real_shapes, real_found = judged(raw["test"])
    _, via_shapes, via_found = judged(via["test"])
    by_id = real.set_index("id")
    wanted = by_id.loc[samples["id"]]
    groups = wanted["group"].tolist()
    own = {}

    errors = ((raw["test"].astype(float) - via["test"]) ** 2).mean(axis=(1, 2, 3))
    own["psnr"] = (10 * np.log10(255**2 / errors)).mean()
    own["ssim"] = structural_similarity_index_measure(
        torch.from_numpy(via["test"]).float() / 255,
        torch.from_numpy(raw["test"]).float() / 255,
        data_range=1.0,
    ).item()
    shares = np.array(list(Counter(codes["test"].flatten().tolist()).values())) / codes["test"].size
    own["codebook_usage"] = len(shares) / spec.codebook_size
    own["codebook_perplexity"] = math.exp(-(shares * np.log(shares)).sum())

    text = encoder.encode(real["caption"].tolist())
    nats = prior.nats(torch.from_numpy(codes["test"].astype(np.int64)), text).numpy() / 49
    own["nats_per_token"] = nats.mean()
    own["nats_per_token_se"] = clustered(nats, real["group"])
    own["perplexity"] = math.exp(nats.mean())

    train_pairs = {
        pair
        for row in images["train"]["attributes"]
        for pair in combinations(sorted(row.items()), 2)
    }

    def is_unseen(row):
        return not train_pairs.issuperset(combinations(sorted(row.items()), 2))

    for name, rows, requests in (
        ("adherence", found, wanted["attributes"].tolist()),
        ("adherence{}_real", via_found, real["attributes"].tolist()),
        ("judge_accuracy", real_found, real["attributes"].tolist()),
    ):
        right = np.array([row == request for row, request in zip(rows, requests, strict=True)])
        unseen = np.array([is_unseen(request) for request in requests])
        assert 0 < unseen.mean() < 1
        own[name.format("")] = right.mean()
        if name == "adherence":
            own["adherence_seen"], own["adherence_unseen"] = (
                right[~unseen].mean(),
                right[unseen].mean(),
            )
            own["adherence_se"] = clustered(right, groups)
            for attribute in judge.classes:
                own[f"adherence_{attribute}"] = np.mean(
                    [a[attribute] == b[attribute] for a, b in zip(rows, requests, strict=True)]
                )
            by_class = pd.Series(right).groupby(wanted["label"].tolist()).mean()
            own["adherence_worst"] = by_class.min()
        elif name == "judge_accuracy":
            accuracy = {
                attribute: np.mean(
                    [a[attribute] == b[attribute] for a, b in zip(rows, requests, strict=True)]
                )
                for attribute in judge.classes
            }
            own["unreliable_attributes"] = ", ".join(a for a, s in accuracy.items() if s < 0.9)
        else:
            own["adherence_unseen_real"] = right[unseen].mean()

    train_shapes = judged(raw["train"])[1]
    limits, distances = {}, {}
    for label, rows in real.groupby("label").groups.items():
        training = train_shapes[images["train"]["label"] == label]
        nearest = np.sort(cdist(via_shapes[rows], training), axis=1)[:, :3].mean(axis=1)
        limits[label] = np.quantile(nearest, 0.9) * 1.00001
        distances |= dict(zip(rows, nearest, strict=True))
    conforms = np.array(
        [
            np.sort(cdist(shape[None], train_shapes[images["train"]["label"] == label]))[
                0, :3
            ].mean()
            <= limits[label]
            for shape, label in zip(shapes, wanted["label"], strict=True)
        ]
    )
    own["conformity"] = conforms.mean()
    own["conformity_se"] = clustered(conforms, groups)
    own["conformity_worst"] = pd.Series(conforms).groupby(wanted["label"].tolist()).mean().min()
    by_loo = []
    for row, (label, group) in enumerate(zip(real["label"], real["group"], strict=True)):
        others = real.index[(real["label"] == label) & (real["group"] != group)]
        if len(others):
            by_loo.append(
                distances[row] <= 1.00001 * np.quantile([distances[i] for i in others], 0.9)
            )
    own["conformity_real"] = np.mean(by_loo)

    evaluate = {"batch_size": 250, "bound_samples": 2, "bootstrap_samples": 3}
    seed = derived_seed(TINY["seed"], "evaluate")
    inputs = Inputs(data, split="test", **evaluate, reliable_accuracy=0.9, seed=seed)
    folds = inputs.folds
    assert len(folds) == 2
    sets = []
    for fold in folds:
        assert not set(real["group"][fold.reference]) & set(real["group"][fold.floor])
        for rows in fold.drawn:
            assert samples["id"][rows].tolist() == real["id"][fold.floor].tolist()
            sets.append((fold, features[rows], shapes[rows]))
    via_features = judged(via["test"])[0]
    floors = [(fold, via_features[fold.floor], via_shapes[fold.floor]) for fold in folds]
    for end, parts in (("", sets), ("_real", floors)):
        frechets, kernels = [], []
        covered, recalled = np.zeros(len(real)), np.zeros(len(real))
        for fold, part, shape in parts:
            target = real_features[fold.reference]
            gap = part.mean(0) - target.mean(0)
            s1, s2 = np.cov(part, rowvar=False), np.cov(target, rowvar=False)
            root = np.trace(sqrtm(s1 @ s2).real)
            frechets.append(gap @ gap + np.trace(s1) + np.trace(s2) - 2 * root)
            names = real["group"][fold.floor].tolist(), real["group"][fold.reference].tolist()
            terms = []
            for (a, ga), (b, gb) in (
                ((part, names[0]), (part, names[0])),
                ((target, names[1]), (target, names[1])),
                ((part, names[0]), (target, names[1])),
            ):
                is_pair = np.array(ga)[:, None] != np.array(gb)
                terms.append((((a @ b.T) / a.shape[1] + 1) ** 3)[is_pair].mean())
            kernels.append(terms[0] + terms[1] - 2 * terms[2])
            target = real_shapes[fold.reference]
            between = cdist(target, shape)
            times = len(folds) / len(parts)
            radius = np.sort(cdist(target, target), axis=1)[:, 5]
            covered[fold.reference] += times * (between.min(axis=1) <= radius + 1e-9)
            radius = np.sort(cdist(shape, shape), axis=1)[:, 5]
            recalled[fold.reference] += times * (between <= radius + 1e-9).any(axis=1)
        own[f"frechet_distance{end}"], own[f"kernel_distance{end}"] = (
            np.mean(frechets),
            np.mean(kernels),
        )
        own[f"coverage{end}"], own[f"recall{end}"] = covered.mean(), recalled.mean()
        if not end:
            own["coverage_se"] = clustered(covered, real["group"])
            own["recall_se"] = clustered(recalled, real["group"])
    own["num_compared"] = len(samples) // 2
    own["num_samples"] = len(samples)
    own["judge"] = fingerprint[:12]

    def gray(pixels):
        contrast = colorless(torch.from_numpy(pixels).float()) * 32 + 128
        return contrast.round().clamp(0, 255).numpy()

    training = gray(via["train"])
    for end, pixels in (("", drawn), ("_real", via["test"])):
        nearest = [min(rms(one, other) for other in training) for one in gray(pixels)]
        own[f"nearest_train_distance{end}"] = np.mean(nearest)
        own[f"nearest_train_distance_low{end}"] = np.quantile(nearest, 0.05)

    for end, captions, pixels, grids in (
        ("", samples["caption"], drawn, np.stack(samples["codes"].tolist())),
        ("_real", real["caption"], via["test"], codes["test"]),
    ):
        pairs = [
            p for rows in captions.groupby(captions).groups.values() for p in combinations(rows, 2)
        ]
        own[f"variety{end}"] = np.mean([rms(pixels[a], pixels[b]) for a, b in pairs])
        own[f"distinct_grids{end}"] = np.mean([(grids[a] != grids[b]).any() for a, b in pairs])
    return own


def test_every_metric_can_be_computed_again(reproduced):
    metrics, own = metrics_of(reproduced.folder), computed(reproduced.folder)
    only_here = {
        "adherence_worst_class",
        "conformity_worst_class",
        "frechet_distance_se",
        "kernel_distance_se",
    }
    assert metrics.keys() - own.keys() == only_here
    for name, value in own.items():
        expected = (
            value if isinstance(value, str) else pytest.approx(float(value), rel=2e-4, abs=1e-6)
        )
        assert metrics[name] == expected, name


def test_worst_classes_are_those_of_the_table(reproduced):
    metrics = metrics_of(reproduced.folder)
    table = pd.read_csv(reproduced.folder / "metrics/evaluate/classes.tsv", sep="\t")
    assert table["pictures"].sum() == metrics["num_samples"]
    for name in ("adherence", "conformity"):
        worst = table.set_index("class")[name]
        assert metrics[f"{name}_worst"] == worst.min()
        assert worst[metrics[f"{name}_worst_class"]] == worst.min()


def test_table_of_steps_is_of_the_compared_pictures(reproduced):
    """One row; its adherence is that of the pictures in steps.parquet."""
    data = reproduced.folder / "data"
    parts = pd.read_parquet(data / "samples/steps.parquet")
    real = read(data / "images", "test").set_index("id")
    judge, _ = load_judge(data / "judge", CPU)
    pixels = pixels_of(io.BytesIO(picture) for picture in parts["image"])
    features = judge.features(torch.from_numpy(pixels).float() / 127.5 - 1)
    best = [logits.argmax(1).tolist() for logits in judge.logits(features)]
    found = [dict(zip(judge.classes, row, strict=True)) for row in zip(*best, strict=True)]
    right = [
        {name: judge.classes[name][i] for name, i in row.items()}
        == dict(real.loc[name_, "attributes"])
        for row, name_ in zip(found, parts["id"], strict=True)
    ]
    table = pd.read_csv(reproduced.folder / "metrics/evaluate/steps.tsv", sep="\t")
    assert table["steps"].tolist() == [49]
    assert table["adherence"].tolist() == [pytest.approx(np.mean(right))]
    assert table["frechet_distance"][0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("prompts", [["a small red one on a white background"], ["a cat", "a dog"]])
def test_own_prompts_are_evaluated_without_distances(reproduced, tmp_path, prompts):
    folder = copy_checkout(reproduced.folder, tmp_path / "checkout")
    changes = ["-S", f"sample.prompts={json.dumps(prompts)}", "-S", "judge.kind=captions"]
    done = run(folder, "dvc", "exp", "run", *(changes if len(prompts) > 1 else changes[:2]))
    assert ran(done.stdout)[-2:] == ["sample", "evaluate"]
    metrics = metrics_of(folder)
    assert all(value == value for value in metrics.values())  # JSON has no NaN
    assert metrics["num_samples"] == 2 * len(prompts)
    assert "frechet_distance, kernel_distance: left out: needs 50 prompts" in done.stdout
    assert not metrics.keys() & {"frechet_distance", "kernel_distance", "coverage", "recall"}
    assert {"psnr", "nats_per_token", "nearest_train_distance", "variety"} <= metrics.keys()
    if len(prompts) > 1:
        assert {"r_precision", "r_precision_real", "r_precision_chance"} <= metrics.keys()
        assert "adherence" not in metrics


@pytest.mark.slow
def test_validation_is_evaluated_instead_of_test(reproduced, tmp_path):
    folder = copy_checkout(reproduced.folder, tmp_path / "checkout")
    done = run(folder, "dvc", "exp", "run", "-S", "evaluate.split=validation")
    assert ran(done.stdout) == ["sample", "evaluate"]
    ids = pd.read_parquet(folder / "data/samples/samples.parquet")["id"]
    assert set(ids) <= set(read(folder / "data/images", "validation")["id"])
    assert len(ids) == metrics_of(folder)["num_samples"]
    assert metrics_of(folder)["psnr"] != metrics_of(reproduced.folder)["psnr"]
