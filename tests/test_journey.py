"""From a release to recommendations on the command line, with 60 users."""

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

SMALL = [
    *("epochs=2", "batch_size=16", "hidden_size=8", "dim=8", "layers=1", "heads=1", "report_to=none"),
    "item_vector_steps=50",
]
README = Path(__file__).parent.parent / "README.md"


def run(*arguments, **how):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **how)


def run_json(*arguments, **how):
    """Return the JSON output of a command that succeeds."""
    result = run(*arguments, "--json", **how)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def settings(*pairs):
    return [word for pair in pairs for word in ("--set", pair)]


def list_files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    """A folder with a release, a prepared dataset, a trained model and the ratings as a CSV file."""
    folder = tmp_path_factory.mktemp("journey")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worlds, "USERS", 60)
        worlds.write_csv_release(folder / "tiny")
        patch.chdir(folder)
        run_json("prepare", "tiny", "--out", "prepared")
        run_json("train", "prepared", "--out", "model", *settings(*SMALL))
    table = (folder / "tiny" / "ratings.csv").read_text()
    (folder / "histories.csv").write_text(table.replace("userId,movieId", "user_id,item_id"))
    return folder


@pytest.fixture(autouse=True)
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_train_prints_validation_metrics_and_leaves_only_the_model(folder):
    facts = run_json("train", "prepared", "--out", "again", *settings(*SMALL))
    assert facts["out"] == "again"
    assert facts["settings"]["epochs"] == 2
    assert "eval_validation_score" in facts["validation"]
    assert len(facts["space"]) == 16
    assert not (folder / "again.training").exists()
    assert (folder / "again" / "model.safetensors").read_bytes() == (
        folder / "model" / "model.safetensors"
    ).read_bytes()


def test_train_prints_a_line_per_epoch_and_the_next_command():
    result = run("train", "prepared", "--out", "printed", *settings(*SMALL))
    assert result.exit_code == 0
    assert re.match(
        r"Wrote printed/ \(\d+ s\)\. Best epoch: [12] of 2\. On validation users: ", result.stdout
    )
    assert "Next: tastevec evaluate printed --data prepared --out results" in result.stdout
    assert "epoch 1/2: loss " in result.stderr
    assert "epoch 2/2: loss " in result.stderr
    assert re.search(r"\noverall: .*item regression.*\nnext: .*lagged item regression", result.stdout)
    assert "% of the ratings are below the middle of the scale, over 40 %: dislike_weight" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--set", "epochs=many"], "epochs"),
        (["--set", "juggle=1"], "juggle"),
        (["--set", "out=elsewhere"], "out"),
        (["--resume"], "no run to resume"),
        (["--set", "report_to=wandb"], "pip install 'tastevec[wandb]'"),
    ],
)
def test_train_with_wrong_setting_fails_and_leaves_nothing(arguments, expected, folder, monkeypatch):
    monkeypatch.setattr("tastevec.extras.find_spec", lambda _name: None)
    before = list_files(folder)
    result = run("train", "prepared", "--out", "never", *arguments)
    assert result.exit_code == 1
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1
    assert list_files(folder) == before


def test_evaluate_reports_model_and_baselines(folder):
    facts = run_json("evaluate", "model", "--data", "prepared", "--out", "results")
    assert facts["out"] == "results"
    systems = {system["system"] for system in facts["systems"]}
    assert {"popularity", "EASE (positives)", "model"} <= systems
    tasks = ["top-rated", "random-20pct", "next-item", "last-20pct"]
    assert [task["task"] for task in facts["tasks"]] == tasks
    tables = [f"{name}.parquet" for name in ("held_out", "inputs", "per_user", "rankings")]
    assert list_files(folder / "results") == [*tables, "report.html", "results.json"]


def test_evaluate_runs_only_the_chosen_tasks():
    narrow = ["--task", "next-item", "--no-baselines", "--split", "validation"]
    result = run("evaluate", "model", "--data", "prepared", "--out", "narrow", *narrow)
    assert result.exit_code == 0
    assert "next-item: " in result.stdout
    assert "top-rated: " not in result.stdout
    assert "EASE" not in result.stdout
    assert result.stdout.rstrip().endswith("narrow/results.json.")


def test_evaluate_rejects_two_models_of_one_name():
    result = run("evaluate", "model", "./model", "--data", "prepared", "--out", "never")
    assert result.exit_code == 1
    assert "Expected unique names" in result.stderr


def test_evaluate_in_python_writes_nothing(folder):
    before = list_files(folder)
    report = tastevec.evaluate(["model"], "prepared", tasks=["random-20pct"], with_baselines=False)
    assert [task.name for task in report.tasks] == ["random-20pct"]
    assert list_files(folder) == before


def test_evaluate_rejects_model_of_another_prepared_dataset(folder):
    run_json("prepare", "tiny", "--out", "others", "--seed", 7)
    result = run("evaluate", "model", "--data", "others", "--out", "never")
    assert result.exit_code == 1
    assert "was not trained on others" in result.stderr
    assert not (folder / "never").exists()


def test_encode_equals_encode_in_python(folder):
    facts = run_json("encode", "model", "histories.csv", "--out", "vectors.parquet")
    assert facts["users"] == facts["rows"] == 60
    assert facts["interactions"] == 60 * 16
    assert facts["unknown_interactions"] == 0
    vectors = pq.read_table(folder / "vectors.parquet")
    assert vectors.schema.types == [pa.int64(), pa.list_(pa.float32(), 8), pa.float32()]
    assert vectors["user_id"].to_pylist() == list(range(1, 61))
    assert vectors.schema.metadata[b"space"].decode() == facts["space"]
    python = tastevec.load("model").encode(pcsv.read_csv(folder / "histories.csv"))
    for name in ("vector", "norm"):
        assert vectors[name].to_pylist() == python[name].to_pylist()
    assert (folder / "vectors.parquet").stat().st_mode & 0o044


def test_encode_items_equals_encode_items_in_python(folder):
    facts = run_json("encode-items", "model", "--out", "items.parquet")
    table = pq.read_table(folder / "items.parquet")
    assert (facts["rows"], facts["dim"], facts["without_vector"]) == (len(table), 8, 0)
    assert table.equals(tastevec.load("model").encode_items().to_arrow())
    assert table.schema.metadata[b"space"].decode() == facts["space"]
    printed = run("encode-items", "model", "--out", "items.parquet")
    assert printed.stdout.strip() == (
        f"Wrote {len(table)} item vectors to items.parquet (8 dimensions, space {facts['space']})."
    )


def test_encode_of_csv_parquet_and_standard_input_is_equal(folder):
    table = pcsv.read_csv(folder / "histories.csv")
    pq.write_table(table, folder / "histories.parquet")
    tables = []
    for source, stdin in [("histories.csv", b""), ("histories.parquet", b""), ("-", _bytes(table))]:
        run_json("encode", "model", source, "--out", "v.parquet", "--horizon", "overall", input=stdin)
        tables.append(pq.read_table("v.parquet"))
    assert tables[0] == tables[1] == tables[2]
    assert tables[0].schema.metadata[b"horizon"] == b"overall"


def test_recommend_ranks_from_1_and_excludes_known_items(folder):
    facts = run_json("recommend", "model", "histories.csv", "--k", 3, "--out", "films.parquet")
    assert facts["k"] == 3
    items = pq.read_table(folder / "films.parquet")
    assert items.column_names == ["user_id", "item_id", "rank", "score", "percentile"]
    assert items["rank"].to_pylist() == [1, 2, 3] * 60
    table = pcsv.read_csv(folder / "histories.csv")
    known = set(zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True))
    shown = set(zip(items["user_id"].to_pylist(), items["item_id"].to_pylist(), strict=True))
    assert not known & shown
    python = tastevec.load("model").recommend(table, k=3)
    assert items["item_id"].to_pylist() == python["item_id"].to_pylist()


def test_recommend_for_user_who_rated_every_item_writes_no_row(folder):
    rows = ["user_id,item_id,rating", *(f"all,{item},4" for item in range(1, worlds.ITEMS + 1))]
    (folder / "omniscient.csv").write_text("\n".join(rows))
    facts = run_json("recommend", "model", "omniscient.csv", "--out", "films.parquet")
    assert (facts["users"], facts["rows"]) == (1, 0)
    assert pq.read_schema(folder / "films.parquet").field("user_id").type == pa.string()


def test_encode_counts_unknown_items_and_skipped_rows(folder):
    table = "user_id,item_id,rating\nann,1,5\nann,999,4\nann,2,eleven\nbob,998,3\n"
    (folder / "odd.csv").write_text(table)
    refused = run("encode", "model", "odd.csv", "--out", "odd.parquet")
    assert refused.exit_code == 1
    assert "odd.csv, line 4" in refused.stderr
    assert not (folder / "odd.parquet").exists()
    printed = run("encode", "model", "odd.csv", "--out", "odd.parquet", "--bad-rows", "drop:25%")
    assert printed.stdout.startswith(
        "Wrote 2 user vectors to odd.parquet (8 dimensions, horizon overall, space "
    )
    assert " Ignored 2 of 3 interactions: unknown items. 1 user has no known item." in printed.stdout
    assert "Skipped 1 row: 1 " in printed.stdout
    printed = run("recommend", "model", "odd.csv", "--out", "odd.parquet", "--bad-rows", "drop:25%", "--k", 2)
    assert "Wrote 4 recommendations for 2 users to odd.parquet (horizon overall)." in printed.stdout


def test_file_with_hardly_a_known_item_is_refused(folder):
    rows = ["user_id,item_id,rating", *(f"ann,B{item},4" for item in range(20))]
    (folder / "others.csv").write_text("\n".join(rows))
    for command in ("encode", "recommend"):
        words = (command, "model", "others.csv", "--out", "others.parquet")
        refused = run(*words)
        assert refused.exit_code == 1
        assert "others.csv: none of the 20 interactions is with an item of the model" in refused.stderr
        assert "--unknown ignore" in refused.stderr
        assert not (folder / "others.parquet").exists()
        assert run(*words, "--unknown", "ignore").exit_code == 0
        (folder / "others.parquet").unlink()
    assert run("explain", "model", "others.csv").exit_code == 1
    (folder / "others.csv").write_text("\n".join([*rows, *(f"ann,{item},4" for item in range(1, 9))]))
    refused = run("encode", "model", "others.csv", "--out", "others.parquet", "--unknown", "raise")
    assert "others.csv: 20 of 28 interactions are with unknown items" in refused.stderr


def test_written_file_names_its_space_horizon_and_order(folder):
    run("recommend", "model", "histories.csv", "--out", "films.parquet", "--horizon", "next")
    run("encode", "model", "histories.csv", "--out", "v.parquet")
    space = tastevec.load("model").bundle.space.encode()
    for file, horizon in (("films.parquet", b"next"), ("v.parquet", b"overall")):
        metadata = pq.read_schema(folder / file).metadata
        if file == "films.parquet":
            assert b"comparable within one user" in metadata.pop(b"score")
            assert b"share of the catalog" in metadata.pop(b"percentile")
        else:
            assert metadata.pop(b"metric") == b"inner product, cosine and Euclidean distance rank items alike"
        encoded = {b"horizon": horizon, b"dislike_weight": b"0.4"}
        assert metadata == {b"space": space, **encoded, b"order": b"user_id"}
        users = pq.read_table(folder / file)["user_id"].to_pylist()
        assert users == sorted(users)


@pytest.mark.parametrize("command", ["encode", "recommend"])
def test_interrupted_command_keeps_the_old_file(command, folder, monkeypatch):
    pq.write_table(pa.table({"user_id": [1]}, metadata={"space": "old"}), folder / "old.parquet")
    old = (folder / "old.parquet").read_bytes()

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tastevec.serving.recommender.Recommender.user_vectors", stop)
    before = list_files(folder)
    result = run(command, "model", "histories.csv", "--out", "old.parquet")
    assert result.exit_code == 130
    assert f"Resume: tastevec {command} model histories.csv --out old.parquet" in result.stderr
    assert list_files(folder) == before
    assert (folder / "old.parquet").read_bytes() == old


def test_encode_rejects_a_prepared_dataset_as_model(folder):
    result = run("encode", "prepared", "histories.csv", "--out", "never.parquet")
    assert result.exit_code == 1
    assert "tastevec train" in result.stderr
    assert not (folder / "never.parquet").exists()


def test_terminated_command_cleans_up_and_exits_130(folder):
    """The command waits on standard input when the signal arrives."""
    before = list_files(folder)
    command = [sys.executable, "-m", "tastevec", "encode", "model", "-", "--out", "killed.parquet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(
            b"user_id,item_id,rating\n" + b"1,1,5\n" * 200_000
        )  # more than a pipe holds: it reads
        process.send_signal(signal.SIGTERM)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Interrupted" in printed
    assert list_files(folder) == before


def _executed():
    """Yield the commands of each README block under ``<!-- executed -->``."""
    blocks = re.findall(
        r"<!-- executed -->\s*```[a-z]*\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )
    for block in blocks:
        lines = block.replace("\\\n", " ").splitlines()
        commands = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
        yield [words[1:] for words in commands if words[:1] == ["tastevec"]]


def test_readme_has_commands():
    assert sum(len(commands) for commands in _executed()) > 3


@pytest.mark.parametrize("commands", list(_executed()))
def test_commands_of_readme_run(commands, folder, tmp_path, monkeypatch):
    """They run in their own folder, with ``histories.csv`` and a GroupLens server of tiny releases."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "histories.csv").write_bytes((folder / "histories.csv").read_bytes())
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
    """Return a tiny release in the format of the named one."""
    formats = {"ml-100k": worlds.write_100k, "ml-1m": worlds.write_1m, "ml-10m": worlds.write_10m}
    folder = formats.get(name, lambda to: worlds.write_csv_release(to, genome=True))(scratch / name)
    return zip_of({f"{name}/{file.name}": file.read_bytes() for file in folder.iterdir()})


def _bytes(table):
    buffer = io.BytesIO()
    pcsv.write_csv(table.sort_by([("user_id", "descending")]), buffer)
    return buffer.getvalue()


def test_explain_describes_each_user_in_tags_with_contributions_of_their_items(folder):
    facts = run_json("explain", "model", "histories.csv", "--tags", "4", "--contributions", "2")
    assert len(facts["users"]) == 60
    rated = {}
    for line in (folder / "histories.csv").read_text().splitlines()[1:]:
        user, item, *_ = line.split(",")
        rated.setdefault(user, set()).add(item)
    for user in facts["users"]:
        assert len(user["tags"]) <= 4
        for tag in user["tags"]:
            assert 0 <= tag["reliability"] <= 1
            assert len(tag["contributions"]) <= 2
            assert {str(one["item_id"]) for one in tag["contributions"]} <= rated[str(user["user_id"])]
    assert any(tag["contributions"] for user in facts["users"] for tag in user["tags"])
    printed = run("explain", "model", "histories.csv", "--tags", "2").stdout
    first = facts["users"][0]["tags"][0]
    assert f"{first['tag']} (reliability {first['reliability']:.2f}): " in printed
    assert first["contributions"][0]["title"] in printed


def test_similar_finds_items_and_users():
    items = run_json("similar", "model", "--item", "3", "--k", "4")
    assert [item["rank"] for item in items["similar"]] == [1, 2, 3, 4]
    assert items["similar"][0]["title"] in run("similar", "model", "--item", "3").stdout
    run_json("encode", "model", "histories.csv", "--out", "vectors.parquet", "--horizon", "overall")
    found = run_json(
        "similar", "model", "--users", "histories.csv", "--user-vectors", "vectors.parquet", "--k", "3"
    )
    assert len(found["users"]) == 60
    for user in found["users"]:  # each user is most similar to themselves
        assert user["similar"][0]["similarity"] == pytest.approx(1, abs=1e-4)
    assert (
        "1.000"
        in run("similar", "model", "--users", "histories.csv", "--user-vectors", "vectors.parquet").stdout
    )
    for among in (
        ("--user-vectors", "vectors.parquet"),
        ("--users", "histories.csv", "--user-vectors", "vectors.parquet"),
    ):
        assert run_json("similar", "model", *among, "--out", "near.parquet", "--k", "2")["rows"] == 60 * 2
        near = pq.read_table("near.parquet")
        assert near.column_names == ["user_id", "similar_user_id", "rank", "similarity"]
        same = pc.equal(near["user_id"], near["similar_user_id"])
        assert pc.any(same).as_py() == (
            "--users" in among
        )  # a stored user is compared with the others, a user of HISTORIES with all
    assert " pairs to near.parquet (items).\n" in run("similar", "model", "--out", "near.parquet").stdout
    assert pq.read_table("near.parquet").column_names[:2] == ["item_id", "similar_item_id"]
    refused = run("similar", "model", "--item", "no film")
    assert refused.exit_code == 1
    assert "'no film' is not in the catalog" in refused.stderr
