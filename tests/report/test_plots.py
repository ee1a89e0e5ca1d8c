import re
import xml.etree.ElementTree

from hypothesis import given
from hypothesis import strategies as st
import pytest

from nmt5.report.plots import Dot, DotRow, Line, dot_chart, line_chart, ticks


def points_of(chart):
    found = re.search(r'points="([^"]*)"', chart).group(1).split()
    return [tuple(map(float, point.split(","))) for point in found]


def test_lines_go_from_corner_to_corner():
    chart = line_chart([Line("a", [(0, 0), (5, 5), (10, 10)])], x_label="step", y_label="loss")
    (x0, y0), (x1, y1), (x2, y2) = points_of(chart)
    assert x0 == 56 and x2 == 704 and x1 == pytest.approx((x0 + x2) / 2)
    assert y0 > y1 > y2 and y1 == pytest.approx((y0 + y2) / 2, abs=0.1)


def test_points_that_are_not_finite_are_left_out():
    line = Line("a", [(0, 1), (1, float("nan")), (2, 3)])
    assert len(points_of(line_chart([line], x_label="x", y_label="y"))) == 2
    assert line_chart([Line("a", [(0, float("nan"))])], x_label="x", y_label="y") == ""
    assert line_chart([], x_label="x", y_label="y") == ""


def test_a_dot_lies_at_its_value_and_its_bar_around_it():
    rows = [DotRow("<de>", [Dot("a & b", 50, 40, 60)], 10), DotRow("fr", [Dot("a & b", 100)])]
    chart = dot_chart(rows, x_label="%", mark_label="chance")
    circles = list(map(float, re.findall(r'cx="([\d.]+)"', chart)))
    bar = re.search(r'class="bar"[^>]*x1="([\d.]+)" x2="([\d.]+)"', chart)
    assert float(bar.group(1)) < circles[0] < float(bar.group(2))
    assert circles[1] - 48 == pytest.approx(2 * (circles[0] - 48), abs=0.2)  # 24 + 6 x 4 letters
    assert "&lt;de&gt;, a &amp; b: 50 [40, 60]" in chart and "<de>" not in chart
    xml.etree.ElementTree.fromstring(chart[chart.index("<svg") :])


def test_a_log_scale_leaves_out_what_it_cannot_show():
    rows = [DotRow("a", [Dot("x", 0.0)], 0.1), DotRow("b", [Dot("x", 10.0)], 1.0)]
    chart = dot_chart(rows, x_label="%", mark_label="asked", logarithmic=True)
    assert chart.count("<circle") == 1 and chart.count('class="mark"') == 2
    assert dot_chart([], x_label="%") == ""


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_inside_and_neither_few_nor_many(low, width):
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 8
    slack = 1e-6 * max(width, abs(low), 1)
    assert all(low - slack <= tick <= low + width + slack for tick in found)
