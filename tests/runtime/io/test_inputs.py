"""Which files are segmented, and what each is called: folders, trees, globs, lists."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveate.runtime.errors import SettingsError
from foveate.runtime.io.images import image_paths
from foveate.runtime.io.inputs import find_items
from tests.conftest import run

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def names(root: Path, *inputs: object, out: str = "out", **more: bool) -> list[str]:
    items = find_items([str(text) for text in inputs], root / out, **more)
    return [item.name for item in items]


def test_files_folders_and_globs(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.jpg", "notes.txt", ".hidden.png", "sub/c.tif", "sub/d.TIFF")
    assert [path.name for path in image_paths(tmp_path)] == ["a.png", "b.jpg"]
    inputs = (tmp_path, tmp_path / "*" / "*.tif", tmp_path / "a.png", f"{tmp_path}/sub/../a.png")
    assert names(tmp_path, *inputs) == ["a", "b", "c"]


def test_a_tree_is_mirrored_in_a_fixed_order(tmp_path: Path) -> None:
    touch(tmp_path / "in", "z.png", "b/y.png", "b/a/x.png", "a/w.png", ".git/v.png", "b.c/u.bmp")
    found = names(tmp_path, tmp_path / "in", recursive=True)
    assert found == ["z", "a/w", "b/y", "b/a/x", "b.c/u"]
    assert names(tmp_path, tmp_path / "in") == ["z"]


def test_globs_and_lists_keep_their_tree_too(tmp_path: Path) -> None:
    touch(tmp_path / "in", "x/a.png", "x/deep/a.png", "y/a.png", ".../a.png")
    for pattern in ("in/**/a.png", "in/[xy]/**/a.png"):
        found = names(tmp_path, tmp_path / pattern, recursive=True)
        assert found == ["x/a", "x/deep/a", "y/a"]
    assert names(tmp_path, f"{tmp_path}/in/*/a.png", recursive=True) == ["x/a", "y/a"]
    touch(tmp_path, "b.png")
    assert names(tmp_path, f"{tmp_path}/in/*/../../b.png", recursive=True) == ["b"]
    listed = [f"{tmp_path}/in/{name}/a.png" for name in ("x", "x/deep", "y/../...")]
    items = find_items(["-"], tmp_path / "out", True, lambda: listed)
    assert [item.name for item in items] == ["x/a", "x/deep/a", ".../a"]
    items = find_items(["-"], tmp_path / "out", True, lambda: listed[:2])
    assert [item.name for item in items] == ["a", "deep/a"]
    with pytest.raises(SettingsError, match="keep their tree with --recursive"):
        find_items(["-"], tmp_path / "out", False, lambda: listed)


def test_circles_of_links_end_and_linked_folders_count_once(tmp_path: Path) -> None:
    touch(tmp_path, "in/b/x.png", "other/y.png")
    (tmp_path / "in" / "b" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "a").symlink_to(tmp_path / "in" / "b")
    (tmp_path / "in" / "c").symlink_to(tmp_path / "other")
    assert names(tmp_path, tmp_path / "in", recursive=True) == ["b/x", "c/y"]
    assert names(tmp_path, f"{tmp_path}/in/**/*.png") == ["x", "y"]


def test_a_link_that_leads_nowhere_is_one_input(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "in/sub/b.png")
    (tmp_path / "in" / "self").symlink_to("self")
    (tmp_path / "in" / "sub" / "gone").symlink_to("nowhere")
    for given in (tmp_path / "in", f"{tmp_path}/in/**/*.png"):
        assert names(tmp_path, given, recursive=True) == ["a", "self", "sub/b", "sub/gone"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("**/*.png", ["a", "b", "c", "d"]),
        ("**/deep/*.png", ["c"]),
        ("su?/**/*.png", ["b", "c"]),
        ("**/sub/**", ["b", "c"]),
        ("[st]*/*.png", ["b", "d"]),
        ("*.png", ["a"]),
    ],
)
def test_globs(tmp_path: Path, pattern: str, found: list[str]) -> None:
    touch(tmp_path, "a.png", "sub/b.png", "sub/deep/c.png", "top/d.png", "top/.e.png")
    assert names(tmp_path, tmp_path / pattern) == found


def test_a_name_that_looks_like_a_glob_or_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "a[1].png", "@b.png", "-c.png")
    assert names(tmp_path, "a[1].png", "@b.png", "-c.png") == ["a[1]", "@b", "-c"]


def test_a_glob_without_a_match_fails_next_to_others(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    items = find_items([str(tmp_path), f"{tmp_path}/*.tif"], tmp_path / "out")
    assert [item.path.name for item in items] == ["a.png", "*.tif"]
    for pattern in ("*.bmp", "none/**/*.bmp"):
        with pytest.raises(SettingsError, match="no images found"):
            names(tmp_path, tmp_path / pattern)


ODD = ["two words.png", "line\nbreak.png", "größe.png", "gro\u0308ße.png", "-x.png"]
ODD += ["n" * 251 + ".png"]


def test_odd_names_come_back_from_folders_and_lists(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    touch(folder, *ODD)
    stems = sorted(name[:-4] for name in ODD)
    assert sorted(names(tmp_path, folder)) == stems
    listed = [f"{folder}/{name}" for name in ODD]
    (tmp_path / "nul").write_bytes(b"\0".join(map(os.fsencode, listed)))
    assert sorted(names(tmp_path, f"@{tmp_path}/nul")) == stems
    assert {item.path for item in find_items(["-"], tmp_path, listed=lambda: listed)} == {
        folder / name for name in ODD
    }


def test_a_list_of_lines(tmp_path: Path) -> None:
    """As Windows writes it; a folder or a file that is not there is left to fail by name."""
    (tmp_path / "list").write_bytes(b"\xef\xbb\xbfa.png\r\n\r\nsub/\xff.png\r\n*.png\r\n")
    items = find_items([f"@{tmp_path}/list"], tmp_path / "out")
    assert [os.fsencode(item.path) for item in items] == [b"a.png", b"sub/\xff.png", b"*.png"]


@pytest.mark.parametrize("tree", [False, True])
def test_what_lies_in_out_is_never_read_again(tmp_path: Path, tree: bool) -> None:
    touch(tmp_path / "in", "a.png", "sub/b.png")
    touch(tmp_path / "in" / "masks", "a.png", "sub/b.png", "overlays/a.jpg", "probability/a.png")
    (tmp_path / "in" / "sub" / "loop").symlink_to(tmp_path / "in" / "masks")
    every = [str(path) for path in (tmp_path / "in").rglob("*.*")]
    out = {"out": "in/masks"}
    if tree:
        assert names(tmp_path, tmp_path / "in", recursive=True, **out) == ["a", "sub/b"]
    for pattern in ("**/*.*", "*/*.png", "*.png", "masks/*.png", "masks/**/*.png"):
        expected = {"**/*.*": ["a", "b"], "*/*.png": ["b"], "*.png": ["a"]}.get(pattern)
        if expected:
            assert names(tmp_path, tmp_path / "in" / pattern, **out) == expected
        else:
            with pytest.raises(SettingsError, match="Files in --out .* are skipped"):
                names(tmp_path, tmp_path / "in" / pattern, **out)
    items = find_items(["-"], tmp_path / "in" / "masks", listed=lambda: every)
    assert sorted(item.name for item in items) == ["a", "b"]


def test_images_below_out_are_read(tmp_path: Path) -> None:
    touch(tmp_path, "scans/a.png", "scans/sub/b.png", "overlays/c.png", "old.png")
    scans = tmp_path / "scans"
    for inputs in ([scans], [scans / "**/*.png"]):
        assert names(tmp_path, *inputs, out=".", recursive=True)[-1] in ("b", "sub/b")
    listed = [str(scans / "a.png")]
    assert len(find_items(["-"], tmp_path, listed=lambda: listed)) == 1
    with pytest.raises(SettingsError, match="is the folder of the images"):
        names(tmp_path, tmp_path / "overlays" / "c.png", out=".")


def test_a_tree_is_never_mirrored_onto_its_images(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "in/in/b.png")
    with pytest.raises(SettingsError, match="--out .* is the folder of the images"):
        names(tmp_path, tmp_path / "in", out=".", recursive=True)
    with pytest.raises(SettingsError, match="is the folder of the images"):
        names(tmp_path, tmp_path / "in", out="in", recursive=True)
    with pytest.raises(SettingsError, match="is the folder of the images"):
        names(tmp_path, tmp_path / "in" / "a.png", out="in/in/..")


def test_one_stem_gives_full_names_as_far_as_needed(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.png", "x/A.jpg", "x/b c\n.png", "y/a.png", "y/a.jpg", "y/a.jpg.bmp")
    assert set(names(tmp_path, tmp_path / "x")) == {"a.png", "A.jpg", "b c\n"}
    assert set(names(tmp_path, tmp_path / "y")) == {"a.png", "a.jpg", "a.jpg.bmp"}
    with pytest.raises(SettingsError, match=r"x/A.jpg and .*y/a.jpg would both be written"):
        names(tmp_path, tmp_path / "x", tmp_path / "y")


def test_the_command_mirrors_a_tree_twice_over(bundle: Path, tmp_path: Path) -> None:
    for name in ("in/a.png", "in/sub/a.png", "in/sub/b.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(GREY).save(tmp_path / name)
    out = tmp_path / "in" / "masks"
    for _ in range(2):
        result = run("segment", bundle, tmp_path / "in", "--recursive", "--overlay", "--out", out)
        assert result.return_value == 0 and result.output.startswith("3 masks"), result.output
    written = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert {"a.png", "sub/a.png", "sub/b.png", "overlays/sub/b.jpg"} <= written


def test_a_path_that_does_not_exist_leaves_no_folder(bundle: Path, tmp_path: Path) -> None:
    result = run("segment", bundle, tmp_path / "gone.png", "--out", tmp_path / "out")
    assert isinstance(result.exception, SettingsError)
    assert "gone.png: no such file or folder" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_list_of_stems_takes_those_images_and_pages(tmp_path: Path) -> None:
    folder, listed = tmp_path / "in", tmp_path / "test.txt"
    touch(folder, "a.png", "b.v2.jpg", "c.png", *ODD[:4])
    pages = [Image.fromarray(GREY + page) for page in range(3)]
    pages[0].save(folder / "stack.tif", save_all=True, append_images=pages[1:])
    touch(folder, "sub/a.png")

    def found(*stems: str, **more: bool) -> list[str]:
        listed.write_text("\ufeff" + "".join(f"{stem} \r\n" for stem in stems))
        items = find_items([str(folder)], tmp_path / "out", stem_list=listed, **more)
        return [item.name for item in items]

    assert found("b.v2", "", "a", "a") == ["a", "b.v2"]
    assert found("stack.p2", "stack.p3") == ["stack.p2", "stack.p3"]
    assert found("stack") == ["stack.p1", "stack.p2", "stack.p3"]
    assert found("a", recursive=True) == ["a", "sub/a"]
    assert found("größe") == ["größe"] and found("gro\u0308ße") == ["gro\u0308ße"]
    for stems in (("a", "gone"), ("a", "stack.p4"), ("a", "a.png")):
        with pytest.raises(SettingsError, match=f"1 of 2 stems have no image: {stems[1]}"):
            found(*stems)
