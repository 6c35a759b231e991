"""Labels of series: each thing that a label asks for is made once."""

from collections.abc import ValuesView

from neargate.model.metric_labels import filled
from neargate.model.metric_values import Series


class Points(dict[int, float]):
    looks = 0

    def values(self) -> ValuesView[float]:
        self.looks += 1
        return super().values()


def test_what_a_label_asks_for() -> None:
    series = Series({60: 1.0, 120: 4.0}, 60, "web", {"Dim.ServiceName": "w"})
    told = filled("${LABEL} ${PROP('Dim.ServiceName')} ${MAX} ${LASTTIME} ${NOTHING}", series)
    assert told == "web w 4 1970-01-01 00:02:00 UTC ${NOTHING}"
    assert filled("${AVG}", Series({}, 60)) == "--"


def test_a_label_that_asks_for_the_same_very_often_looks_at_the_points_once() -> None:
    points = Points({60: 1.0, 120: 2.0})
    assert filled("${SUM}" * 1000, Series(points, 60)) == "3" * 1000
    assert points.looks == 1
