"""What a run says: the metrics file, and a display that survives closed, absent and plain streams."""

from __future__ import annotations

import io
import os
import sys

import pytest

from gansmith.training.log import Display, ForgivingStream, Metrics, Progress, clock


@pytest.fixture
def metrics(tmp_path) -> Metrics:
    return Metrics(tmp_path / "metrics.jsonl")


RECORDS = [{"images": images, "loss_d": images / 7} for images in (8, 16, 24)]


class TestMetrics:
    def test_records_are_read_as_they_were_written_oldest_first(self, metrics):
        for record in RECORDS:
            metrics.append(record)
        assert metrics.read() == RECORDS
        assert len(metrics.path.read_text().splitlines()) == 3

    def test_file_that_does_not_exist_holds_nothing(self, metrics):
        assert metrics.read() == []
        metrics.rewind(0)
        assert not metrics.path.exists()

    @pytest.mark.parametrize("left", ['{"images": 32, "los', '{"images"', "{", '{"images": 32}'[:-1]])
    def test_half_written_last_line_is_passed_over(self, metrics, left):
        for record in RECORDS:
            metrics.append(record)
        with metrics.path.open("a") as file:
            file.write(left)
        assert metrics.read() == RECORDS

    @pytest.mark.parametrize(("images", "left"), [(-1, 0), (7, 0), (8, 1), (20, 2), (24, 3), (99, 3)])
    def test_rewinding_drops_what_came_later(self, metrics, images, left):
        for record in RECORDS:
            metrics.append(record)
        metrics.rewind(images)
        assert metrics.read() == RECORDS[:left]
        assert list(metrics.path.parent.iterdir()) == [metrics.path]

    def test_rewinding_removes_a_half_written_line_so_that_the_next_record_stands_alone(self, metrics):
        for record in RECORDS:
            metrics.append(record)
        with metrics.path.open("a") as file:
            file.write('{"images": 32, "los')
        metrics.rewind(24)
        metrics.append({"images": 32})
        assert metrics.read() == [*RECORDS, {"images": 32}]

    def test_line_of_foreign_bytes_is_passed_over(self, metrics):
        metrics.append(RECORDS[0])
        with metrics.path.open("ab") as file:
            file.write(b"\xff\xfe\x00garbage\n")
        metrics.append(RECORDS[1])
        assert metrics.read() == RECORDS[:2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (5.4, "0:05"), (59.6, "1:00"), (123, "2:03"), (3600, "1:00:00"), (3723, "1:02:03"), (-4, "0:00")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


class Broken(io.StringIO):
    """A stream whose reader has gone."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts = 0

    def write(self, text: str) -> int:
        self.attempts += 1
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


class TestForgivingStream:
    def test_text_goes_through(self):
        inner = io.StringIO()
        stream = ForgivingStream(inner)
        assert stream.write("hello") == 5
        stream.flush()
        assert inner.getvalue() == "hello"

    def test_closed_stream_is_silence(self):
        inner = io.StringIO()
        inner.close()
        stream = ForgivingStream(inner)
        assert not stream.isatty()
        assert stream.write("hello") == 5
        stream.flush()

    def test_no_stream_is_silence(self):
        stream = ForgivingStream(None)
        assert stream.write("hello") == 5
        stream.flush()
        assert not stream.isatty()
        assert stream.encoding

    def test_stream_is_left_alone_once_its_pipe_is_broken(self):
        inner = Broken()
        stream = ForgivingStream(inner)
        for _ in range(3):
            assert stream.write("hello") == 5
            stream.flush()
        assert inner.attempts == 1

    def test_failing_flush_is_silence(self):
        stream = ForgivingStream(Broken())
        stream.flush()
        assert stream.write("hello") == 5

    def test_real_pipe_without_a_reader_is_silence(self):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as inner:
            stream = ForgivingStream(inner)
            stream.write("hello")
            stream.flush()
            stream.write("again")
            stream.flush()

    @pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors through /proc")
    def test_silence_leaves_no_descriptor_open(self):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            ForgivingStream(Broken()).write("hello")
        assert len(os.listdir("/proc/self/fd")) == before

    def test_text_outside_the_encoding_does_not_silence_what_follows(self):
        buffer = io.BytesIO()
        inner = io.TextIOWrapper(buffer, encoding="ascii", write_through=True)
        stream = ForgivingStream(inner)
        stream.write("1 · 2 😀\n")
        stream.write("later\n")
        assert b"later" in buffer.getvalue()


def progress(images: int = 1234) -> Progress:
    record = {"images": images, "images_per_second": 5678.9, "loss_d": 1.23456, "loss_g": 0.5, "memory_mb": 1500}
    return Progress(0.25, 123.0, record)


class TestDisplay:
    def test_progress_line_holds_the_numbers(self):
        line = progress().line()
        for part in ("1,234 images", "5,679 img/s", "loss D 1.235", "G 0.500", "2:03 to go", "1,500 MB"):
            assert part in line
        assert "accuracy" not in line

    def test_progress_line_of_an_autoencoder_holds_its_numbers(self):
        record = {"images": 8, "images_per_second": 9.0, "loss": -12.3456, "reconstruction_error": 0.25, "kl": 7.0}
        line = Progress(0.25, 123.0, record).line()
        assert " · loss -12.346 · reconstruction error 0.250 · KL 7.000 · " in line

    def test_plain_lines_where_there_is_no_terminal(self):
        stream = io.StringIO()
        display = Display(stream=stream)
        display.say("hello")
        display.training(progress())
        display.close()
        lines = stream.getvalue().splitlines()
        assert lines[0] == "hello"
        assert lines[1].startswith(" 25%  1,234 images")
        assert "\x1b" not in stream.getvalue()
        assert "\r" not in stream.getvalue()

    def test_plain_progress_is_not_repeated_at_once_but_the_end_of_decoding_is_always_said(self):
        stream = io.StringIO()
        display = Display(stream=stream)
        for done in range(0, 1001, 100):
            display.decoding(done, 1000)
        lines = stream.getvalue().splitlines()
        assert len(lines) <= 2
        assert lines[-1] == "100%  decoding 1,000 of 1,000 images"

    def test_long_text_is_not_broken_into_lines(self):
        stream = io.StringIO()
        Display(stream=stream).say("word " * 100)
        assert stream.getvalue().count("\n") == 1

    @pytest.mark.parametrize(
        "text", ["[bold]not markup[/bold]", "[/]", "12,345 'text' http://x.y", ":dog:.png", "a\\[b]"]
    )
    def test_text_is_printed_as_it_is(self, text):
        stream = io.StringIO()
        Display(stream=stream).say(text)
        assert stream.getvalue() == text + "\n"

    def test_quiet_display_says_nothing(self):
        stream = io.StringIO()
        display = Display(quiet=True, stream=stream)
        display.say("hello")
        display.decoding(1, 1)
        display.training(progress())
        display.close()
        assert stream.getvalue() == ""

    def test_standard_output_is_the_default(self, capsys):
        Display().say("hello")
        assert capsys.readouterr().out == "hello\n"

    def test_absent_standard_output_is_silence(self, monkeypatch):
        monkeypatch.setattr(sys, "stdout", None)
        display = Display()
        display.say("hello")
        display.training(progress())
        display.close()

    def test_closed_stream_stops_nothing(self):
        stream = io.StringIO()
        display = Display(stream=stream)
        stream.close()
        display.say("hello")
        display.training(progress())
        display.close()

    def test_no_color_means_no_colours_on_a_terminal(self, monkeypatch):
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLORTERM", "truecolor")
        stream = Terminal()
        display = Display(stream=stream)
        display.say("\N{HOT BEVERAGE} hello")
        display.training(progress())
        display.training(progress(2000))
        display.close()
        assert "2,000 images" in stream.getvalue()
        for colour in ("\x1b[3", "\x1b[4", "\x1b[9", "38;5;", "38;2;"):
            assert colour not in stream.getvalue()

    def test_no_escape_codes_on_a_dumb_stream_with_no_color(self, monkeypatch):
        monkeypatch.setenv("NO_COLOR", "1")
        stream = io.StringIO()
        display = Display(stream=stream)
        display.say("hello")
        display.decoding(5, 5)
        display.training(progress())
        display.close()
        assert "\x1b" not in stream.getvalue()
