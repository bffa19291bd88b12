"""From a release to answers through the command, on a world of 60 people: what is promised of the whole path."""

import io
import json
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import tastevec
import worlds
from servers import Page, serving, zip_of
from tastevec.cli.app import app
from tastevec.data import releases

pytestmark = pytest.mark.slow

SMALL = ["epochs=2", "batch_size=16", "hidden_size=8", "dim=8", "layers=1", "heads=1", "report_to=none"]
README = Path(__file__).parent.parent / "README.md"


def run(*arguments, **how):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **how)


def well(*arguments, **how):
    """What a command that ends well says as JSON."""
    result = run(*arguments, "--json", **how)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def settings(*pairs):
    return [word for pair in pairs for word in ("--set", pair)]


def everything_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(scope="module", name="place")
def _place(tmp_path_factory):
    """A folder with a release, the prepared data, a trained model and the release's ratings as a table of one's own."""
    place = tmp_path_factory.mktemp("journey")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worlds, "USERS", 60)
        worlds.write_csv_release(place / "tiny")
        patch.chdir(place)
        well("prepare", "tiny", "--out", "prepared")
        well("train", "prepared", "--out", "model", *settings(*SMALL))
    table = (place / "tiny" / "ratings.csv").read_text()
    (place / "histories.csv").write_text(table.replace("userId,movieId", "user_id,item_id"))
    return place


@pytest.fixture(autouse=True)
def _there(place, monkeypatch):
    monkeypatch.chdir(place)


def test_training_says_what_was_measured_and_leaves_only_the_model(place):
    told = well("train", "prepared", "--out", "again", *settings(*SMALL))
    assert told["out"] == "again"
    assert told["settings"]["epochs"] == 2
    assert "eval_validation_score" in told["validation"]
    assert len(told["space"]) == 16
    assert not (place / "again.training").exists()
    assert (place / "again" / "model.safetensors").read_bytes() == (
        place / "model" / "model.safetensors"
    ).read_bytes()


def test_training_speaks_to_a_person_too():
    result = run("train", "prepared", "--out", "spoken", *settings(*SMALL))
    assert result.exit_code == 0
    assert result.stdout.startswith("The model is in spoken, trained in ")
    assert "Next: tastevec evaluate spoken --data prepared --out results" in result.stdout
    assert "epoch 1 of 2 done" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "epochs=many"], "epochs"),
        (["--set", "juggle=1"], "juggle"),
        (["--set", "out=elsewhere"], "out"),
        (["--resume"], "holds no unfinished run"),
        (["--set", "report_to=wandb"], "pip install 'tastevec[wandb]'"),
    ],
)
def test_training_that_cannot_start_says_why_and_leaves_nothing(arguments, said, place, monkeypatch):
    monkeypatch.setattr("tastevec.extras.find_spec", lambda _name: None)
    before = everything_in(place)
    result = run("train", "prepared", "--out", "never", *arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert everything_in(place) == before


def test_evaluation_puts_the_model_beside_floors_and_baselines(place):
    told = well("evaluate", "model", "--data", "prepared", "--out", "results")
    assert told["out"] == "results"
    systems = {system["system"] for system in told["systems"]}
    assert {"popularity", "EASE", "model"} <= systems
    assert {task["protocol"] for task in told["tasks"]} == {"top-rated", "random-20pct", "future"}
    assert everything_in(place / "results") == ["per_user.parquet", "report.html", "results.json"]


def test_evaluation_prints_the_table_and_asks_only_what_is_asked_for():
    narrow = ["--protocol", "future", "--no-baselines", "--split", "validation"]
    result = run("evaluate", "model", "--data", "prepared", "--out", "narrow", *narrow)
    assert result.exit_code == 0
    assert "next-liked: " in result.stdout
    assert "best-rated: " not in result.stdout
    assert "EASE" not in result.stdout
    assert result.stdout.rstrip().endswith("narrow/results.json")


def test_two_models_of_one_name_are_refused_since_the_table_could_not_tell_them_apart():
    result = run("evaluate", "model", "./model", "--data", "prepared", "--out", "never")
    assert result.exit_code == 1
    assert "expected different names" in result.stderr


def test_python_evaluates_without_writing(place):
    before = everything_in(place)
    report = tastevec.evaluate(["model"], "prepared", tasks=["random-20pct"], with_baselines=False)
    assert [task.name for task in report.tasks] == ["random-20pct"]
    assert everything_in(place) == before


def test_a_model_of_other_data_is_not_judged_here(place):
    well("prepare", "tiny", "--out", "others", "--seed", 7)
    result = run("evaluate", "model", "--data", "others", "--out", "never")
    assert result.exit_code == 1
    assert "was not trained on others" in result.stderr
    assert not (place / "never").exists()


def test_encode_answers_for_everybody_as_python_does(place):
    told = well("encode", "model", "histories.csv", "--out", "vectors.parquet")
    assert told["users"] == told["rows"] == 60
    assert told["interactions"] == 60 * 16
    assert told["unknown_interactions"] == 0
    vectors = pq.read_table(place / "vectors.parquet")
    assert vectors.schema.types == [pa.int64(), pa.list_(pa.float32(), 8)]
    assert vectors["user_id"].to_pylist() == list(range(1, 61))
    assert vectors.schema.metadata[b"space"].decode() == told["space"]
    python = tastevec.load("model").encode(pcsv.read_csv(place / "histories.csv"))
    assert vectors["vector"].to_pylist() == python["vector"].to_pylist()
    assert (place / "vectors.parquet").stat().st_mode & 0o044


def test_encode_reads_csv_parquet_and_standard_input_alike(place):
    table = pcsv.read_csv(place / "histories.csv")
    pq.write_table(table, place / "histories.parquet")
    told = []
    for source, stdin in [("histories.csv", b""), ("histories.parquet", b""), ("-", _bytes(table))]:
        well("encode", "model", source, "--out", "v.parquet", "--horizon", "overall", input=stdin)
        told.append(pq.read_table("v.parquet"))
    assert told[0] == told[1] == told[2]
    assert told[0].schema.metadata[b"horizon"] == b"overall"


def test_recommend_ranks_from_1_and_leaves_known_films_out(place):
    told = well("recommend", "model", "histories.csv", "--k", 3, "--out", "films.parquet")
    assert told["k"] == 3
    items = pq.read_table(place / "films.parquet")
    assert items.column_names == ["user_id", "item_id", "rank", "score"]
    assert items["rank"].to_pylist() == [1, 2, 3] * 60
    table = pcsv.read_csv(place / "histories.csv")
    known = set(zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True))
    shown = set(zip(items["user_id"].to_pylist(), items["item_id"].to_pylist(), strict=True))
    assert not known & shown
    python = tastevec.load("model").recommend(table, k=3)
    assert items["item_id"].to_pylist() == python["item_id"].to_pylist()


def test_somebody_who_knows_every_film_gets_no_row(place):
    rows = ["user_id,item_id,rating", *(f"all,{item},4" for item in range(1, worlds.ITEMS + 1))]
    (place / "omniscient.csv").write_text("\n".join(rows))
    told = well("recommend", "model", "omniscient.csv", "--out", "films.parquet")
    assert (told["users"], told["rows"]) == (1, 0)
    assert pq.read_schema(place / "films.parquet").field("user_id").type == pa.string()


def test_unknown_films_and_bad_rows_are_counted_and_told(place):
    table = "user_id,item_id,rating\nann,1,5\nann,999,4\nann,2,eleven\nbob,998,3\n"
    (place / "odd.csv").write_text(table)
    refused = run("encode", "model", "odd.csv", "--out", "odd.parquet")
    assert refused.exit_code == 1
    assert "odd.csv line 4" in refused.stderr
    assert not (place / "odd.parquet").exists()
    spoken = run("encode", "model", "odd.csv", "--out", "odd.parquet", "--skip-bad-rows")
    assert "2 vectors are in odd.parquet." in spoken.stdout
    assert "2 people, 3 interactions; 2 of them with films that the model does not know" in spoken.stdout
    assert "Bad rows set aside: 1 " in spoken.stdout
    spoken = run("recommend", "model", "odd.csv", "--out", "odd.parquet", "--skip-bad-rows", "--k", 2)
    assert "4 recommendations are in odd.parquet." in spoken.stdout


@pytest.mark.parametrize("command", ["encode", "recommend"])
def test_a_failed_answer_leaves_the_old_file(command, place, monkeypatch):
    (place / "old.parquet").write_text("old")

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tastevec.serving.recommender.Recommender.vectors", stop)
    before = everything_in(place)
    result = run(command, "model", "histories.csv", "--out", "old.parquet")
    assert result.exit_code == 130
    assert "run the same command again" in result.stderr
    assert everything_in(place) == before
    assert (place / "old.parquet").read_text() == "old"


def test_a_folder_that_is_no_model_is_refused_in_one_sentence(place):
    result = run("encode", "prepared", "histories.csv", "--out", "never.parquet")
    assert result.exit_code == 1
    assert "tastevec train" in result.stderr
    assert not (place / "never.parquet").exists()


def test_a_killed_command_cleans_up_and_exits_130(place):
    """It waits on standard input when the signal comes."""
    before = everything_in(place)
    command = [sys.executable, "-m", "tastevec", "encode", "model", "-", "--out", "killed.parquet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(
            b"user_id,item_id,rating\n" + b"1,1,5\n" * 200_000
        )  # more than a pipe holds: it reads
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted" in told
    assert everything_in(place) == before


def _executed():
    """The commands of the README's blocks under ``<!-- executed -->``, block by block."""
    blocks = re.findall(
        r"<!-- executed -->\s*```[a-z]*\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )
    for block in blocks:
        lines = block.replace("\\\n", " ").splitlines()
        commands = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
        yield [words[1:] for words in commands if words[:1] == ["tastevec"]]


def test_the_readme_has_commands_to_run():
    assert sum(len(commands) for commands in _executed()) > 3


@pytest.mark.parametrize("commands", list(_executed()))
def test_the_commands_of_the_readme_run(commands, place, tmp_path, monkeypatch):
    """In a folder of their own, with ``histories.csv`` there and a GroupLens that serves tiny releases."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "histories.csv").write_bytes((place / "histories.csv").read_bytes())
    monkeypatch.setattr(worlds, "USERS", 60)
    undigested = {name: replace(release, md5=None) for name, release in releases.RELEASES.items()}
    monkeypatch.setattr(releases, "RELEASES", MappingProxyType(undigested))
    with serving() as server:
        monkeypatch.setattr(releases, "_FOLDER", server.at(""))
        for name in releases.RELEASES:
            server.pages[f"{name}.zip"] = Page(_zipped(name, tmp_path / "made"))
        for words in commands:
            result = run(*words)
            assert result.exit_code == 0, (words, result.stderr)


def _zipped(name, scratch):
    """A tiny release in this one's format."""
    formats = {"ml-100k": worlds.write_100k, "ml-1m": worlds.write_1m, "ml-10m": worlds.write_10m}
    folder = formats.get(name, lambda to: worlds.write_csv_release(to, genome=True))(scratch / name)
    return zip_of({f"{name}/{file.name}": file.read_bytes() for file in folder.iterdir()})


def _bytes(table):
    kept = io.BytesIO()
    pcsv.write_csv(table.sort_by([("user_id", "descending")]), kept)
    return kept.getvalue()


def test_people_are_explained_in_tags_by_films_of_their_own(place):
    told = well("explain", "model", "histories.csv", "--tags", "4", "--contributions", "2")
    assert len(told["users"]) == 60
    rated = {}
    for line in (place / "histories.csv").read_text().splitlines()[1:]:
        user, item, *_ = line.split(",")
        rated.setdefault(user, set()).add(item)
    for owner in told["users"]:
        assert len(owner["tags"]) <= 4
        for reading in owner["tags"]:
            assert 0 <= reading["confidence"] <= 1
            assert len(reading["items"]) <= 2
            assert {str(index["item_id"]) for index in reading["items"]} <= rated[str(owner["user_id"])]
    assert any(reading["items"] for owner in told["users"] for reading in owner["tags"])
    spoken = run("explain", "model", "histories.csv", "--tags", "2").stdout
    first = told["users"][0]["tags"][0]
    assert first["tag"] in spoken
    assert first["items"][0]["title"] in spoken


def test_near_films_and_near_people_are_found():
    items = well("similar", "model", "--item", "3", "--k", "4")
    assert [item["rank"] for item in items["similar"]] == [1, 2, 3, 4]
    assert items["similar"][0]["title"] in run("similar", "model", "--item", "3").stdout
    well("encode", "model", "histories.csv", "--out", "vectors.parquet", "--horizon", "overall")
    found = well(
        "similar", "model", "--users", "histories.csv", "--user-vectors", "vectors.parquet", "--k", "3"
    )
    assert len(found["users"]) == 60
    for user in found["users"]:  # everybody is nearest to himself
        assert user["similar"][0]["similarity"] == pytest.approx(1, abs=1e-4)
    assert (
        "1.000"
        in run("similar", "model", "--users", "histories.csv", "--user-vectors", "vectors.parquet").stdout
    )
    for among in (
        ("--user-vectors", "vectors.parquet"),
        ("--users", "histories.csv", "--user-vectors", "vectors.parquet"),
    ):
        assert well("similar", "model", *among, "--out", "near.parquet", "--k", "2")["rows"] == 60 * 2
        near = pq.read_table("near.parquet")
        assert near.column_names == ["user_id", "similar_user_id", "rank", "similarity"]
        himself = pc.equal(near["user_id"], near["similar_user_id"])
        assert pc.any(himself).as_py() == (
            "--users" in among
        )  # who is stored is told of others, who is told of all
    assert "pairs are in near.parquet" in run("similar", "model", "--out", "near.parquet").stdout
    assert pq.read_table("near.parquet").column_names[:2] == ["item_id", "similar_item_id"]
    refused = run("similar", "model", "--item", "no film")
    assert refused.exit_code == 1
    assert "'no film' is not in the model's catalogue" in refused.stderr
