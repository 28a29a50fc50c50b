"""The project around the code: requirements in step, the import rules, a quick import, no machine's paths."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LESSONS = (
    "variational_inference",
    "reparameterization_trick",
    "kl_divergence_loss",
    "reconstruction_loss",
    "vae_complete_loss",
    "lstm_gru",
    "mixture_density_networks",
    "mdn_rnn",
    "model_predictive_control",
    "cross_entropy_method",
    "world_models_training",
)


# --- Requirements


def pinned(requirements: list[str]) -> dict[str, tuple[frozenset[str], SpecifierSet]]:
    """Name → (extras, versions)."""
    parsed = [Requirement(line) for line in requirements]
    return {one.name: (frozenset(one.extras), one.specifier) for one in parsed}


def all_requirements() -> list[str]:
    extras: dict[str, list[str]] = PROJECT["optional-dependencies"]
    return PROJECT["dependencies"] + [line for lines in extras.values() for line in lines]


def test_environment_yml_is_the_same_environment() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in conda if isinstance(entry, dict))
    assert "-e ." in pip
    assert pinned([line for line in pip if not line.startswith("-")]) == pinned(PROJECT["dependencies"])
    python = next(entry for entry in conda if isinstance(entry, str) and entry.startswith("python"))
    assert Requirement(python).specifier == SpecifierSet(PROJECT["requires-python"])


def test_makefile_asks_for_the_same_python() -> None:
    makefile = (ROOT / "Makefile").read_text()
    stated = dict(re.findall(r"^(OLDEST|NEWEST) := (\d+)$", makefile, re.MULTILINE))
    allowed = [minor for minor in range(99) if f"3.{minor}" in SpecifierSet(PROJECT["requires-python"])]
    assert allowed == list(range(int(stated["OLDEST"]), int(stated["NEWEST"]) + 1))


def test_every_requirement_has_a_version_and_none_is_pygame() -> None:
    for line in all_requirements():
        requirement = Requirement(line)
        assert requirement.specifier, f"{line} has no version"
        assert requirement.name != "pygame", "gymnasium brings pygame-ce, and the two share a folder"
    assert pinned(PROJECT["dependencies"])["torch"] == (frozenset(), SpecifierSet("==2.13.0"))


# --- Imports


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file may import, wherever in it the statement stands, by its full dotted name."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*start, node.module) if node.module else start)
            # "from a import b" may name a module b: keep both, the longer one only where such a file exists
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if module_file(f"{base}.{alias.name}"))


def module_file(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def ours(path: Path) -> set[str]:
    """The parts of wmcourse that a file names: lesson modules, worlds, engine, lessons, classroom, cli."""
    return {name.split(".")[1] for name in imports_of(path) if name.startswith("wmcourse.")}


def files_of(part: str) -> list[Path]:
    folder = ROOT / "wmcourse" / part
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_imports_only_earlier_lessons_and_worlds(lesson: str) -> None:
    allowed = {*LESSONS[: LESSONS.index(lesson)], "worlds"}
    if lesson == LESSONS[-1]:
        allowed.add("engine")  # the last lesson is the complete system; only there a run is kept on disk
    assert ours(ROOT / "wmcourse" / f"{lesson}.py") <= allowed


def test_worlds_stand_alone() -> None:
    for path in files_of("worlds"):
        assert ours(path) <= {"worlds"}, path.name


def test_nothing_a_lesson_reaches_is_a_later_lesson_or_its_classroom() -> None:
    """The same rule with the detours: what is imported by what is imported."""
    for number, lesson in enumerate(LESSONS):
        reached, todo = set(), [f"wmcourse.{lesson}"]
        while todo:
            name = todo.pop()
            file = module_file(name)
            if name in reached or file is None:
                continue
            reached.add(name)
            todo += [other for other in imports_of(file) if other.startswith("wmcourse.")]
        parts = {name.split(".")[1] for name in reached}
        assert not parts & {*LESSONS[number + 1 :], "lessons", "classroom", "cli"}, lesson


def test_the_package_imports_only_what_it_requires() -> None:
    distributions = {"PIL": "pillow", "IPython": "ipykernel", "mpl_toolkits": "matplotlib"}
    required = {Requirement(line).name for line in all_requirements()} | {"wmcourse", "benchmarks"}
    for path in [*(ROOT / "wmcourse").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        tops = {name.split(".")[0] for name in imports_of(path)} - sys.stdlib_module_names
        missing = {distributions.get(top, top) for top in tops} - required
        assert not missing, f"{path.relative_to(ROOT)} imports {missing}: not required in pyproject.toml"


def in_a_fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_quick_and_loads_neither_torch_nor_gymnasium() -> None:
    code = """if True:
        import sys, time
        start = time.perf_counter()
        import wmcourse
        print(time.perf_counter() - start)
        assert not {"torch", "gymnasium", "numpy", "matplotlib"} & set(sys.modules)
    """
    seconds = min(float(in_a_fresh_python(code)) for _ in range(3))
    print(f"import wmcourse: {1000 * seconds:.1f} ms")
    assert seconds < 1.0  # 0.3 is promised; a busy machine gets the benefit of the doubt


@pytest.mark.parametrize(
    ("imports", "world"),
    [
        ("import gymnasium", "wmcourse:wmcourse/Dodge-v0"),
        ("import gymnasium, wmcourse", "wmcourse/Dodge-v0"),
        ("import wmcourse.worlds, gymnasium", "wmcourse/Dodge-v0"),
    ],
)
def test_gymnasium_finds_dodge(imports: str, world: str) -> None:
    code = f"{imports}, sys; print(gymnasium.make({world!r}).observation_space.shape, 'torch' in sys.modules)"
    assert in_a_fresh_python(code).split("\n")[0] == "(32, 32, 1) False"


# --- Files


def test_no_file_names_a_place_on_one_machine() -> None:
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout: no list of the project's own files")
    homes = "|".join(["home", "root", "Users", "work", "opt", "tmp/ipykernel"])
    # Such a path begins where no word, dot or variable stands before it, as in a web address or $HOME/work.
    place = re.compile(rf"(?<![\w.~$}}>*-])(?:[A-Z]:\\+Users\\+\w|/(?:{homes})[/_][\w.])")
    found = []
    for name in listed.stdout.split("\0"):
        data = (ROOT / name).read_bytes() if name and (ROOT / name).is_file() else b""
        if b"\0" in data:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if match := place.search(line):
                found.append(f"{name}:{number}: …{line[max(0, match.start() - 20) : match.end() + 20]}…")
    assert not found, "\n".join(found)
