"""The house keeps its storeys: a file imports only from below (DESIGN.md, section 2)."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "stemkin"

LAYERS = {
    "tables": 0, "devices": 0, "stopping": 0, "rows": 1,
    "kernels": 1,
    "detectors": 2, "network": 3, "readers": 2,
    "movie": 3, "model": 4, "gaussian_mixture": 2,
    "trajectories": 2, "trackfiles": 2,
    "controls": 3,
    "archive": 4, "conversion": 5, "simulation": 4, "scheduling": 5, "workers": 4, "streaming": 3,
    "clustering": 3, "structures": 4, "editing": 5, "detection": 4, "learning": 5, "linking": 4, "kinetics": 4, "diffusion": 4, "phases": 4, "scoring": 4,
    "config": 5, "store": 5, "progress": 5, "report": 6, "journal": 6, "runlog": 6,
    "pipeline": 7, "demo": 7,
    "cli": 8,
}  # fmt: skip
DESCENDS_WITHIN = {
    "kernels",
    "readers",
    "report",
    "simulation",
    "cli",
    "network",
    "pipeline",
    "kinetics",
    "diffusion",
    "linking",
    "scoring",
    "learning",
    "detection",
    "model",
}
"""Packages whose own files may import each other; kernels may use kernels, stages may not use stages."""

SCIENCE_ONLY = {"dask", "distributed", "pandas", "pyarrow", "zarr", "pathlib", "os", "io"}
"""What a kernel never imports: no Dask, no files, no tables."""


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped |= {id(inner) for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write absolute imports"
            found |= {node.module} if node.module != "stemkin" else {f"stemkin.{name.name}" for name in node.names}
    return found


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or p.name not in ("__init__.py", "__main__.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_from_below(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in LAYERS, f"{own} has no layer: give it one here and in the design"
    for module in imports(path):
        if not module.startswith("stemkin.") or module == "stemkin.__version__":
            continue
        other = room(module)
        inside = other == own and own in DESCENDS_WITHIN
        assert inside or LAYERS[other] < LAYERS[own], (
            f"{own} (layer {LAYERS[own]}) imports {other} (layer {LAYERS[other]})"
        )


@pytest.mark.parametrize("path", sorted((PACKAGE / "kernels").glob("*.py")), ids=lambda p: p.name)
def test_a_kernel_is_arrays_in_arrays_out(path):
    roots = {module.split(".")[0] for module in imports(path)}
    assert not roots & SCIENCE_ONLY, f"{path.name} imports {roots & SCIENCE_ONLY}"


@pytest.mark.parametrize(("library", "home"), [("dask_ml", "clustering"), ("torch", "network")])
def test_a_heavy_library_lives_in_one_room(library, home):
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own in (home, "devices"):
            continue
        assert library not in {module.split(".")[0] for module in imports(path)}, f"{path.name} imports {library}"


def test_the_public_names_all_resolve():
    import stemkin

    assert sorted(stemkin.__all__) == sorted(set(stemkin.__all__))
    for name in stemkin.__all__:
        assert getattr(stemkin, name) is not None
