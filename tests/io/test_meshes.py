"""Meshes: points in the right space, everything else of the file as it was; itk and nibabel as referees."""

import nibabel
import numpy as np
import pytest

from deformgan.errors import InputError, OutputError
from deformgan.io.meshes import Mesh, read_mesh, write_mesh

POINTS = np.array([[0, 0, 0], [10.5, 0, 0], [0, -7.25, 0], [0, 0, 3.125], [4, 5, 6]], dtype=float)
FACES = np.array([[0, 1, 2], [0, 1, 3], [1, 2, 3], [2, 3, 4]])
RAS = np.array([-1.0, -1, 1])


def moved(mesh, by):
    return Mesh(mesh.points + by, mesh.path, mesh.space, mesh.notes)


def block(values, kind, binary):
    array = np.asarray(values).astype(kind)
    if binary:
        return array.astype(np.dtype(kind).newbyteorder(">")).tobytes() + b"\n"
    return ("\n".join(" ".join(map(repr, row)) for row in array.reshape(len(array), -1).tolist()) + "\n").encode()


def vtk(version="4.2", binary=True, title="vtk output", kind="f4"):
    """A polydata file with all sorts of sections, as VTK writes them, points holding the trap word NORMALS."""
    name = {"f4": "float", "f8": "double"}[kind]
    out = [f"# vtk DataFile Version {version}\n{title}\n{'BINARY' if binary else 'ASCII'}\nDATASET POLYDATA\n".encode()]
    out += [b"FIELD FieldData 1\nstamp 1 1 double\n", block([7.5], "f8", binary)]
    out += [f"POINTS {len(POINTS)} {name}\n".encode(), block(POINTS, kind, binary)]
    out += [b"METADATA\nINFORMATION 0\n\n"]
    if version >= "5":
        out += [f"POLYGONS {len(FACES) + 1} {FACES.size}\nOFFSETS vtktypeint64\n".encode()]
        out += [block(np.arange(len(FACES) + 1) * 3, "i8", binary), b"CONNECTIVITY vtktypeint64\n"]
        out += [block(FACES.ravel(), "i8", binary)]
    else:
        cells = np.concatenate([np.full((len(FACES), 1), 3), FACES], 1)
        out += [f"POLYGONS {len(FACES)} {cells.size}\n".encode(), block(cells, "i4", binary)]
    out += [f"CELL_DATA {len(FACES)}\n".encode(), b"SCALARS part int 1\nLOOKUP_TABLE default\n"]
    out += [block([10, 11, 12, 13], "i4", binary)]
    out += [f"POINT_DATA {len(POINTS)}\nNORMALS Normals float\n".encode(), block(POINTS * 0 + [0, 0, 1], "f4", binary)]
    out += [b"VECTORS flow float\n", block(POINTS * 0 + 9, "f4", binary)]
    out += [b"TEXTURE_COORDINATES uv 2 float\n", block(POINTS[:, :2], "f4", binary)]
    out += [b"FIELD FieldData 1\nthickness 1 5 double\n", block([1.5, 2.5, 3.5, 4.5, 5.5], "f8", binary)]
    return b"".join(out)


@pytest.mark.parametrize("version", ["3.0", "4.2", "5.1"])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_vtk_keeps_all_but_points_and_normals(tmp_path, version, binary, kind):
    before = vtk(version, binary, "3D Slicer output. SPACE=RAS", kind)
    (tmp_path / "a.vtk").write_bytes(before)
    mesh = read_mesh(tmp_path / "a.vtk")
    np.testing.assert_allclose(mesh.points, POINTS * RAS, atol=1e-12)
    assert mesh.space == "RAS" and mesh.notes == ()
    notes = write_mesh(moved(mesh, [1, 2, 3]), tmp_path / "b.vtk")
    assert "normals were dropped" in notes[0]
    after = (tmp_path / "b.vtk").read_bytes()
    old, new = (block(p, kind, binary) for p in (POINTS, POINTS + np.array([-1, -2, 3])))
    head, tail = before.split(old)
    normals = tail.index(b"NORMALS"), tail.index(b"VECTORS")
    assert after.startswith(head) and after.endswith(tail[normals[1] :]) and b"NORMALS" not in after
    assert tail[: normals[0]] in after
    np.testing.assert_allclose(read_mesh(tmp_path / "b.vtk").points, POINTS * RAS + [1, 2, 3], atol=1e-6)
    if binary:
        assert new.rstrip(b"\n") in after


@pytest.mark.parametrize("binary", [True, False])
def test_itk_reads_the_moved_vtk(tmp_path, binary):
    import itk

    data = vtk("4.2", binary)  # ITK reads points and polygons, but not all that follows
    head, rest = data[: data.index(b"FIELD")], data[data.index(b"POINTS") : data.index(b"METADATA")]
    cells = data[data.index(b"POLYGONS") : data.index(b"CELL_DATA")]
    (tmp_path / "a.vtk").write_bytes(head + rest + cells)
    mesh = read_mesh(tmp_path / "a.vtk", space="LPS")
    write_mesh(moved(mesh, [1, 2, 3]), tmp_path / "b.vtk")
    found = itk.meshread(str(tmp_path / "b.vtk"), itk.F)
    np.testing.assert_allclose(
        itk.array_from_vector_container(found.GetPoints()), POINTS + np.array([1, 2, 3]), atol=1e-6
    )
    assert found.GetNumberOfCells() == len(FACES)


def gifti(path, *more):
    arrays = [
        nibabel.gifti.GiftiDataArray(POINTS.astype(np.float32), intent="NIFTI_INTENT_POINTSET"),
        nibabel.gifti.GiftiDataArray(FACES.astype(np.int32), intent="NIFTI_INTENT_TRIANGLE"),
        *more,
    ]
    arrays[0].meta["AnatomicalStructurePrimary"] = "CortexLeft"
    nibabel.gifti.GiftiImage(darrays=arrays).to_filename(path)


def test_gifti_is_ras(tmp_path):
    values = nibabel.gifti.GiftiDataArray(np.arange(5, dtype=np.float32), intent="NIFTI_INTENT_SHAPE")
    normals = nibabel.gifti.GiftiDataArray(POINTS.astype(np.float32), intent="NIFTI_INTENT_VECTOR")
    gifti(tmp_path / "a.surf.gii", values, normals)
    mesh = read_mesh(tmp_path / "a.surf.gii")
    np.testing.assert_allclose(mesh.points, POINTS * RAS)
    assert "dropped" in write_mesh(moved(mesh, [1, 2, 3]), tmp_path / "b.surf.gii")[0]
    after = nibabel.load(tmp_path / "b.surf.gii")
    np.testing.assert_allclose(after.agg_data("pointset"), POINTS + np.array([-1, -2, 3]))
    np.testing.assert_array_equal(after.agg_data("triangle"), FACES)
    np.testing.assert_array_equal(after.agg_data("shape"), np.arange(5))
    assert after.darrays[0].meta["AnatomicalStructurePrimary"] == "CortexLeft" and len(after.darrays) == 3
    with pytest.raises(InputError, match="the file says RAS"):
        read_mesh(tmp_path / "a.surf.gii", space="LPS")


def stl(binary, title=b"made by hand"):
    corners = POINTS[FACES]
    if not binary:
        lines = [b"solid " + title]
        for triangle in corners.tolist():
            lines += [b"facet normal 0 0 1", b" outer loop"]
            lines += [f"  vertex {x} {y} {z}".encode() for x, y, z in triangle]
            lines += [b" endloop", b"endfacet"]
        return b"\n".join([*lines, b"endsolid", b""])
    facets = np.zeros(len(FACES), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("colour", "<u2")])
    facets["corners"], facets["colour"] = corners, [1, 2, 3, 4]
    return title.ljust(80) + np.uint32(len(FACES)).tobytes() + facets.tobytes()


@pytest.mark.parametrize("binary", [True, False])
def test_stl_gets_new_normals(tmp_path, binary):
    (tmp_path / "a.stl").write_bytes(stl(binary))
    mesh = read_mesh(tmp_path / "a.stl")
    assert "taken as LPS" in mesh.notes[0]
    np.testing.assert_allclose(mesh.points, POINTS[FACES].reshape(-1, 3))
    turned = Mesh(mesh.points[:, [1, 2, 0]], mesh.path, mesh.space)
    write_mesh(turned, tmp_path / "b.stl")
    after = (tmp_path / "b.stl").read_bytes()
    np.testing.assert_allclose(read_mesh(tmp_path / "b.stl").points, turned.points, atol=1e-6)
    first = np.frombuffer(after[84:96], "<f4") if binary else [float(v) for v in after.split(b"\n")[1].split()[2:]]
    np.testing.assert_allclose(first, [0, -1, 0], atol=1e-6)  # of (0, 0, 0), (0, 0, 10.5), (-7.25, 0, 0)
    if binary:
        assert after[-2:] == np.uint16(4).tobytes() and after[:84] == stl(True)[:84]


def ply(form):
    header = f"ply\nformat {form} 1.0\ncomment SPACE=RAS\nelement vertex 5\nproperty double x\nproperty double y\n"
    header += "property double z\nproperty float nx\nproperty float ny\nproperty float nz\nproperty uchar red\n"
    header += "element face 4\nproperty list uchar int vertex_indices\nend_header\n"
    if form == "ascii":
        body = "".join(f"{x!r} {y!r} {z!r} 0 0 1 {40 + n}\n" for n, (x, y, z) in enumerate(POINTS.tolist()))
        return (header + body + "".join(f"3 {a} {b} {c}\n" for a, b, c in FACES)).encode()
    order = "<" if "little" in form else ">"
    rows = np.zeros(5, [("p", order + "f8", 3), ("n", order + "f4", 3), ("red", "u1")])
    rows["p"], rows["red"] = POINTS, 40 + np.arange(5)
    faces = np.zeros(4, [("count", "u1"), ("corners", order + "i4", 3)])
    faces["count"], faces["corners"] = 3, FACES
    return header.encode() + rows.tobytes() + faces.tobytes()


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_keeps_colours_and_faces(tmp_path, form):
    before = ply(form)
    (tmp_path / "a.ply").write_bytes(before)
    mesh = read_mesh(tmp_path / "a.ply")
    np.testing.assert_allclose(mesh.points, POINTS * RAS)
    assert "dropped" in write_mesh(moved(mesh, [1, 2, 3]), tmp_path / "b.ply")[0]
    after = (tmp_path / "b.ply").read_bytes()
    np.testing.assert_allclose(read_mesh(tmp_path / "b.ply").points, POINTS * RAS + [1, 2, 3])
    assert b"property float nx" not in after and b"comment SPACE=RAS" in after and b"property uchar red" in after
    faces = before[-52:] if form != "ascii" else before[before.index(b"3 0 1 2") :]
    assert after.endswith(faces)
    body = after[after.index(b"end_header\n") + 11 : -len(faces)]
    reds = [int(line.split()[3]) for line in body.splitlines()] if form == "ascii" else list(body[24::25])
    assert reds == [40, 41, 42, 43, 44]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.vtk", b"# vtk DataFile Version 3.0\nx\nASCII\nDATASET UNSTRUCTURED_GRID\n", "UNSTRUCTURED_GRID"),
        ("a.vtk", vtk()[:150], "cut off"),
        ("a.vtk", b"<VTKFile>", "legacy VTK"),
        ("a.vtk", vtk().replace(b"VECTORS", b"WONDERS"), "WONDERS"),
        ("a.stl", stl(True)[:-1], "STL"),
        ("a.ply", ply("binary_little_endian")[:300], "cut off"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "no x, y, z"),
        ("a.gii", b"<GIFTI", "GIFTI"),
        ("a.vtp", b"", "save as .vtk"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, name, data, says):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=says) as caught:
        read_mesh(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_the_format_stays_and_space_must_not_contradict(tmp_path):
    (tmp_path / "a.vtk").write_bytes(vtk(title="SPACE=LPS"))
    mesh = read_mesh(tmp_path / "a.vtk")
    with pytest.raises(OutputError, match="stays in its format"):
        write_mesh(mesh, tmp_path / "b.stl")
    with pytest.raises(InputError, match="the file says LPS"):
        read_mesh(tmp_path / "a.vtk", space="RAS")
    (tmp_path / "c.vtk").write_bytes(vtk())
    np.testing.assert_allclose(read_mesh(tmp_path / "c.vtk", space="ras").points, POINTS * RAS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.vtk", "c.vtk"]
