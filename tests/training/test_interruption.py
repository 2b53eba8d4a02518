import signal
import threading

import pytest

from vqpriors.training.interruption import SIGNALS, Interruption


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_is_recorded_and_handlers_are_restored(number):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.name is None
        signal.raise_signal(number)
        assert interruption.name == number.name
        assert signal.getsignal(number) != before
    assert signal.getsignal(number) == before


def test_first_signal_is_recorded():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
        assert interruption.name == "SIGUSR1"


def test_second_interrupt_raises_at_once(capsys):
    with Interruption():
        signal.raise_signal(signal.SIGINT)
        assert "Ctrl-C again to stop at once" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_other_threads_record_no_signal():
    names = []

    def enter():
        with Interruption() as interruption:
            names.append(interruption.name)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert names == [None]
