"""The house keeps its storeys: a file imports only from below (DESIGN.md, section 2)."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.sources import FILES, KERNELS, PACKAGE, below_package, nodes_of, tree_of

LAYERS = {
    "extras": -1,  # everyone may ask for a package
    "tables": 0, "devices": 0, "errors": 0, "names": 0, "materials": 0, "blas": 0,
    "kernels": 1, "vocabulary": 1, "seals": 1, "scratch": 1,
    "rows": 2, "readers": 2, "plot": 2,
    "movie": 3, "references": 3, "traces": 3, "controls": 3, "schedulers": 3, "foreign_tables": 3,
    "archive": 4, "detection": 4, "simulation": 4,
    "structures": 4, "linking": 4, "kinetics": 4, "diffusion": 4, "order": 4, "scoring": 4,
    "selfcheck": 5, "sites": 5, "conversion": 5, "description": 5, "network": 5,
    "model": 6, "exporting": 6,
    "learning": 7,
    "config": 5, "results": 5, "progress": 4,
    "report": 8, "viewer": 8, "injection": 8,
    "pipeline": 9, "demo": 9, "doctor": 9, "opened": 9,
    "cli": 10,
}  # fmt: skip
"""Rooms by storey; a room imports only from rooms below its own."""

WINGS = {
    "common": 0,
    "images": 1,
    "crystal": 2,
    "detection": 3, "classes": 3,
    "linking": 3, "motion": 3, "chains": 3,
}  # fmt: skip
"""Wings of `stemkin/kernels` by storey; those of one storey do not know each other."""

SCIENCE_ONLY = {"dask", "distributed", "pandas", "pyarrow", "zarr", "pathlib", "os", "io"}
"""What a kernel never imports: no Dask, no files, no tables."""


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@cache
def imports(path: Path) -> frozenset[str]:
    """What a file imports, anywhere in it, but for the eyes of mypy alone."""
    nodes = list(nodes_of(path))
    skipped = set()
    for node in nodes:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped |= {id(inner) for inner in ast.walk(node)}
    found = set()
    for node in nodes:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write absolute imports"
            found |= (
                {node.module}
                if node.module != "stemkin"
                else {f"stemkin.{name.name}" for name in node.names}
            )
    return frozenset(found)


def test_a_file_imports_only_from_below():
    doors = {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}
    wrong = [said for path in FILES if path not in doors for said in upward_imports(path)]
    assert not wrong, "\n".join(wrong)


def upward_imports(path: Path) -> list[str]:
    """What a file imports from its own storey or above, or from outside the plan."""
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own not in LAYERS:
        return [f"{own} has no layer: give it one here and in the design"]
    wrong = []
    for module in sorted(imports(path)):
        if not module.startswith("stemkin.") or module == "stemkin.__version__":
            continue
        other = room(module)
        if other not in LAYERS:
            wrong.append(f"{path} imports {module}, which lies outside the plan")
        elif other != own and LAYERS[other] >= LAYERS[own]:
            wrong.append(f"{own} (layer {LAYERS[own]}) imports {other} (layer {LAYERS[other]})")
    return wrong


def test_a_kernel_lies_in_a_wing_and_imports_only_from_wings_below():
    wrong = [said for path in KERNELS for said in outside_its_wing(path)]
    assert not wrong, "\n".join(wrong)


def outside_its_wing(path: Path) -> list[str]:
    """What is wrong with the place of a kernel, and with what it imports from other wings."""
    parts = path.relative_to(PACKAGE / "kernels").parts
    if parts == ("__init__.py",):
        return []
    if len(parts) != 2:
        return [f"{path.name} lies outside the wings"]
    if parts[0] not in WINGS:
        return [f"the wing {parts[0]} has no storey: give it one here and in docs/design.md"]
    wrong = []
    for module in sorted(imports(path)):
        other = module.split(".")
        if other[:2] != ["stemkin", "kernels"]:
            continue
        if len(other) == 2:
            wrong.append(f"{path.name} imports {module}: name the wing")
        elif other[2] != parts[0] and WINGS[other[2]] >= WINGS[parts[0]]:
            wrong.append(f"{parts[0]}/{path.name} imports {module}")
    return wrong


def test_a_kernel_is_arrays_in_arrays_out():
    for path in KERNELS:
        roots = {module.split(".")[0] for module in imports(path)}
        assert not roots & SCIENCE_ONLY, f"{below_package(path)} imports {roots & SCIENCE_ONLY}"


@pytest.mark.parametrize(("library", "home"), [("dask_ml", "learning"), ("torch", "network")])
def test_a_heavy_library_lives_in_one_room(library, home):
    for path in FILES:
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own in (home, "devices"):
            continue
        assert library not in {module.split(".")[0] for module in imports(path)}, (
            f"{path.name} imports {library}"
        )


LATE = {
    "dask.array": set(),
    "dask.dataframe": {"rows/collection.py"},
    "distributed": set(),
    "matplotlib": set(),
    "zarr": {"readers/zarr_bounds.py"},
    "stemkin.rows.collection": set(),
    "stemkin.readers.zarr_bounds": set(),
}
"""What takes half a second and more to load, and who may load it with the file: others import it in
the function that needs it, so that a worker or a short command does not wait for it."""


def test_what_takes_long_to_load_is_loaded_by_who_needs_it():
    early = []
    for path in FILES:
        for node in tree_of(path).body:
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{name.name}" for name in node.names]
            else:
                continue
            for late, homes in LATE.items():
                loads = any(f"{name}.".startswith(f"{late}.") for name in names)
                if loads and below_package(path) not in homes:
                    early.append(f"{below_package(path)} loads {late} with itself")
    assert not early, "\n".join(early)


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    names = {}
    for path in FILES:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imported_modules(path: Path, known: dict[str, Path]) -> set[str]:
    """Which modules of the package `path` imports, anywhere in it."""
    found = set()
    for node in nodes_of(path):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stemkin"):
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                found.add(whole if whole in known else node.module)
    return found & set(known)


def test_no_module_imports_itself_in_a_circle():
    """Also inside packages, and also by an import within a function."""
    known = modules()
    below = {name: imported_modules(path, known) - {name} for name, path in known.items()}
    while True:
        leaves = {name for name, others in below.items() if not others & set(below)}
        if not leaves:
            break
        below = {name: others for name, others in below.items() if name not in leaves}
    circle = {name: sorted(others & set(below)) for name, others in below.items()}
    assert not circle, f"these import each other, or hang on a circle: {circle}"


def test_the_public_names_all_resolve():
    import stemkin

    assert sorted(stemkin.__all__) == sorted(set(stemkin.__all__))
    for name in stemkin.__all__:
        assert getattr(stemkin, name) is not None


def test_the_typed_door_says_what_the_lazy_one_loads():
    """Editors and mypy read `__init__.pyi`; Python reads `_ROOM_OF` in `__init__.py`."""
    import stemkin

    typed = {}
    for node in ast.parse((PACKAGE / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for name in node.names:
                assert name.asname == name.name, f"write `{name.name} as {name.name}`"
                typed[name.name] = node.module
    assert typed == {name: f"stemkin.{room}" for name, room in stemkin._ROOM_OF.items()}
