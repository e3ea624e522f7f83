"""The load test in small: what holds for two minutes holds for seconds."""

from benchmarks.ui_load import load


def test_clients_at_once_get_their_own_pictures_and_nobody_is_stuck():
    report = load(clients=7, seconds=8)
    assert report.problems == []
    assert report.wrong == 0
    assert report.left == 0
    assert len(report.pictures) >= 3
    assert report.aborted > 0
    assert set(report.answers) <= {200, 429, 503}
