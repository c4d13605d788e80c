import json
import stat

import pytest

from datamodules.files import replacing, replacing_path, write_json


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as file:
        file.write("zwölf\n")
        assert not path.exists()
    assert path.read_bytes() == "zwölf\n".encode()
    with pytest.raises(UnicodeEncodeError), replacing(path) as file:
        file.write("half of \ud83d")
    assert path.read_text(encoding="utf-8") == "zwölf\n"
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_what_comes_second_replaces_what_came_first(tmp_path):
    path = tmp_path / "a.bin"
    for content in (b"first", b"second"):
        with replacing_path(path) as temporary:
            temporary.write_bytes(content)
            assert temporary.parent == tmp_path
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_json_has_no_nan(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"é": [float("nan"), 1.5, (None, {2: "x"})]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"é": [None, 1.5, [None, {"2": "x"}]]}
    assert path.read_text(encoding="utf-8").endswith("}\n")
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text(encoding="utf-8"))["é"][1] == 1.5
