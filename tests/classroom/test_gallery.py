"""The README's table and pictures of the lessons."""

import io
import re
from pathlib import Path

import pytest
from PIL import Image

from wmcourse.classroom import gallery
from wmcourse.lessons.syllabus import SYLLABUS

ROOT = Path(__file__).resolve().parents[2]
TABLE = gallery.README.read_text(encoding="utf-8").split(gallery.BEGIN)[1].split(gallery.END)[0]


def test_the_readme_says_what_the_lessons_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert gallery.main(["--check"]) == 0, capsys.readouterr().out


def test_every_lesson_has_a_row_with_a_picture_in_words() -> None:
    assert re.findall(r"^\| (\d\d) \|", TABLE, re.MULTILINE) == [entry.number for entry in SYLLABUS]
    pictures = re.findall(r'<img src="([^"]+)" width="\d+" alt="([^"]+)">', TABLE)
    assert len(pictures) == len(SYLLABUS)
    for file, words in pictures:
        assert (ROOT / file).stat().st_size < 100_000
        assert len(words) > 20
    for file in re.findall(r"\]\(([^)]+)\)", TABLE):
        assert (ROOT / file).is_file()


def test_an_old_table_is_told_and_not_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "README.md"
    old.write_text(gallery.README.read_text(encoding="utf-8").replace(" min<br>", " minutes<br>"), encoding="utf-8")
    before = old.read_bytes()
    monkeypatch.setattr(gallery, "README", old)
    assert gallery.main(["--check"]) == 1
    assert "README.md: its table of lessons is old" in capsys.readouterr().out
    assert old.read_bytes() == before


def test_a_thumbnail_is_small_and_of_the_same_shape() -> None:
    buffer = io.BytesIO()
    Image.effect_mandelbrot((1440, 480), (-2, -1, 1, 1), 100).save(buffer, "png")
    small = Image.open(io.BytesIO(gallery.thumbnail(buffer.getvalue())))
    assert small.size == (560, 187)
