"""Progress bars are for those who wait: a page shows warnings, and no bar."""

from nbformat.v4 import new_output

from slmkit.course.pages import _is_progress


def test_only_bars_are_left_out():
    assert _is_progress(new_output("stream", name="stderr", text="\rtraining:  3%|#  | 3/100\rtraining:  4%"))
    assert not _is_progress(new_output("stream", name="stderr", text="UserWarning: look here\n"))
    assert not _is_progress(new_output("stream", name="stdout", text="a\rb"))
    assert not _is_progress(new_output("display_data", data={"text/plain": "figure"}))
