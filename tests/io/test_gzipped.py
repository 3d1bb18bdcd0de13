import gzip

import numpy as np
import pytest

from deformgan.io.gzipped import gzipped, new_file

DATA = np.random.default_rng(3).normal(0, 40, 200_000).astype(np.int16).tobytes()


def test_the_standard_library_reads_it_and_it_is_the_same_each_time(tmp_path):
    packed = gzipped(DATA)
    assert gzip.decompress(packed) == DATA
    assert gzipped(DATA) == packed
    assert len(packed) < 1.03 * len(gzip.compress(DATA, 1))


def test_a_file_holds_neither_its_name_nor_a_time(tmp_path):
    for name in ("one.nii.gz", "another.part"):
        with new_file(tmp_path / name, packed=True) as stream:
            for start in range(0, len(DATA), 70_001):
                stream.write(DATA[start : start + 70_001])
            assert stream.tell() == len(DATA)
    one, another = ((tmp_path / name).read_bytes() for name in ("one.nii.gz", "another.part"))
    assert one == another
    assert gzip.decompress(one) == DATA
    assert b"one" not in one[:30]
    assert one[4:8] == b"\0\0\0\0"


def test_a_plain_file_is_what_was_written(tmp_path):
    with new_file(tmp_path / "plain.nii", packed=False) as stream:
        stream.write(DATA)
    assert (tmp_path / "plain.nii").read_bytes() == DATA


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError), new_file(tmp_path / "none" / "x.nii.gz", packed=True):
        pass
