"""A seed is a schedule."""

import pytest

from tests.acceptance.chaos.schedule import SESSION_S, Kind, Part, make_schedule


def test_a_seed_replays_its_schedule():
    assert make_schedule(7, faults=40, draws=2) == make_schedule(7, faults=40, draws=2)
    assert make_schedule(7, faults=40, draws=2) != make_schedule(8, faults=40, draws=2)


@pytest.mark.parametrize("faults", [3, 20, 200])
def test_every_part_is_struck(faults):
    schedule = make_schedule(1, faults=faults, draws=10)
    assert len(schedule) == faults
    assert {fault.part for fault in schedule} == set(Part)


def test_faults_strike_in_the_middle_and_in_order():
    for seed in range(20):
        for part in Part:
            marks = [fault.at for fault in make_schedule(seed, faults=30, draws=2) if fault.part is part]
            assert marks == sorted(marks)
            assert part is Part.DRAW or all(0.1 <= at <= 0.9 for at in marks)


def test_every_draw_has_its_share_of_faults():
    marks = [fault.at for fault in make_schedule(1, faults=200, draws=10) if fault.part is Part.DRAW]
    assert len(marks) == 20
    assert all(sum(number / 10 <= at < (number + 1) / 10 for at in marks) == 2 for number in range(10))


def test_a_freeze_outlasts_the_session_and_a_longer_schedule_has_one_of_everything():
    schedule = make_schedule(3, faults=60, draws=10)
    assert all(fault.seconds > SESSION_S + 1 for fault in schedule if fault.kind is Kind.FREEZE)
    assert {fault.kind for fault in schedule} == set(Kind)


def test_only_faults_of_a_process_name_a_role():
    for fault in make_schedule(5, faults=100, draws=10):
        assert bool(fault.role) == (fault.kind in {Kind.KILL, Kind.TERMINATE, Kind.FREEZE, Kind.START, Kind.STOP})
