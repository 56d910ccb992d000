"""Agreement between reviewers, against published examples."""

import math

import pytest

from actlabel.core.agreement import cohen_kappa, krippendorff_alpha


def test_cohen_kappa_of_the_textbook_table():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed .7, by chance .5
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    first, second = zip(*pairs, strict=True)
    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_krippendorff_alpha_of_krippendorffs_own_example():
    # Krippendorff, Computing Krippendorff's alpha-reliability, 2011, section C: nominal, four observers, missing data: .743
    table = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    items = [[answer for answer in column if answer is not None] for column in zip(*table, strict=True)]
    assert krippendorff_alpha(items) == pytest.approx(0.743, abs=0.0005)


@pytest.mark.parametrize("measure", [lambda: cohen_kappa([], []), lambda: cohen_kappa("aa", "aa"), lambda: krippendorff_alpha([["a"], []])])
def test_nothing_to_compare_is_not_a_number(measure):
    assert math.isnan(measure())


def test_perfect_agreement_is_one():
    assert cohen_kappa("abca", "abca") == pytest.approx(1.0)
    assert krippendorff_alpha([["a", "a"], ["b", "b", "b"]]) == pytest.approx(1.0)
