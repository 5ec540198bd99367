import base64
import re

from vibe_ray.reports.markup import image, table


def test_an_image_is_in_the_page_itself() -> None:
    html = image(b"bytes", "png", 'a "quoted" <name>')
    (data,) = re.findall(r'src="data:image/png;base64,([^"]*)"', html)
    assert base64.b64decode(data) == b"bytes"
    assert 'alt="a &quot;quoted&quot; &lt;name&gt;"' in html


def test_numbers_are_aligned_right_and_rows_styled() -> None:
    html = table(["a", "b"], [["x", "1"], ["y", "2"]], row_css={1: "faint"})
    assert '<td>x</td><td class="number">1</td>' in html
    assert '<tr class="faint"><td>y</td>' in html
    assert "<thead>" not in table((), [["x", "1"]])
