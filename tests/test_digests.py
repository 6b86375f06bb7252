import pytest

from dec_jax.digests import DIGESTS_FILE, read_checked, write_with_digest


def write(path, text):
    with write_with_digest(path, "w") as file:
        file.write(text)


def test_what_is_written_is_read(tmp_path):
    write(tmp_path / "a.csv", "α\r\n")
    with write_with_digest(tmp_path / "b.bin") as file:
        file.write(bytes(range(256)))
    assert read_checked(tmp_path / "a.csv") == "α\r\n".encode()
    assert read_checked(tmp_path / "b.bin") == bytes(range(256))


def test_a_changed_file_is_refused(tmp_path):
    write(tmp_path / "a.csv", "1")
    (tmp_path / "a.csv").write_text("2")
    with pytest.raises(ValueError, match=r"a\.csv is damaged, or was changed"):
        read_checked(tmp_path / "a.csv")


def test_the_digest_of_another_file_does_not_count(tmp_path):
    write(tmp_path / "a.csv", "1")
    write(tmp_path / "b.csv", "2")
    (tmp_path / "a.csv").write_text("2")
    with pytest.raises(ValueError, match="damaged"):
        read_checked(tmp_path / "a.csv")


def test_a_file_without_a_digest_is_taken_as_it_is(tmp_path):
    (tmp_path / "a.csv").write_text("1")
    assert read_checked(tmp_path / "a.csv") == b"1"
    write(tmp_path / "b  a.csv", "2")
    assert read_checked(tmp_path / "a.csv") == b"1"


def test_a_writer_that_ends_before_its_file_is_in_place_leaves_the_one_before(tmp_path, monkeypatch):
    write(tmp_path / "a.csv", "1")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "a.csv", "2")
    assert read_checked(tmp_path / "a.csv") == b"1"
    assert len((tmp_path / DIGESTS_FILE).read_text().splitlines()) == 2


def test_a_file_that_is_missing_stays_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_checked(tmp_path / "a.csv")
