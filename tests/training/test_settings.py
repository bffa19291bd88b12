import pytest

from tastevec.errors import SettingsError
from tastevec.training.settings import PRESETS, TrainSettings, resolve_settings


def test_the_seed_preset_is_the_research_notes_recipe_to_the_letter():
    said = {
        "backbone": "bert-base-cased",
        "layers": 2,
        "dim": 64,
        "item_vectors": "genome-svd",
        "item_input": "table",
        "time_gaps": False,
        "rating_input": "multiply",
        "order": "item",
        "truncate": "oldest",
        "max_history": 512,
        "attention": "padded",
        "readout": "pooler",
        "positions": "none",
        "blend_overall": 0.0,
        "blend_recent": 0.0,
        "blend_short": 0.0,
        "target": "best-rated",
        "ties": "lowest-item",
        "statistics": "everything",
        "loss": "cosine",
        "epochs": 4,
        "batch_size": 4,
        "learning_rate": 1e-4,
        "weight_decay": 0.01,
        "warmup": 0.0,
        "seed": 42,
    }
    settings = resolve_settings("bert-cosine").model_dump()
    assert {name: settings[name] for name in said} == said


def test_every_word_of_the_note_differs_from_ours_so_that_its_effect_can_be_measured():
    ours, note = resolve_settings().model_dump(), resolve_settings("bert-cosine").model_dump()
    wrong = (
        "order",
        "truncate",
        "attention",
        "readout",
        "ties",
        "statistics",
        "loss",
        "target",
        "rating_input",
        "item_input",
        "time_gaps",
        "blend_overall",
    )
    assert all(ours[name] != note[name] for name in wrong)


def test_a_change_changes_just_that():
    for preset in PRESETS:
        before, after = resolve_settings(preset), resolve_settings(preset, epochs=7)
        assert before.model_copy(update={"epochs": 7}) == after
        assert after.preset == preset


def test_the_words_of_a_command_line_are_read_as_the_settings_types():
    settings = resolve_settings("bert-cosine", epochs="2", time_gaps="true", learning_rate="1e-3", ties="all")
    assert (settings.epochs, settings.time_gaps, settings.learning_rate, settings.ties) == (
        2,
        True,
        1e-3,
        "all",
    )


def test_every_setting_says_what_it_is():
    assert all(field.description for name, field in TrainSettings.model_fields.items())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epoch": 3}, r"epoch is no setting; did you mean epochs\? \(known settings: .*epochs"),
        ({"epochs": 0}, "epochs: .* found 0"),
        ({"epochs": "many"}, "epochs: .* found 'many'"),
        ({"loss": "hinge"}, "loss: .*softmax.* found 'hinge'"),
        ({"seed": -1}, "seed: .* found -1"),
        ({"seed": 2**32}, "seed: "),
        ({"warmup": 1}, "warmup: .* found 1"),
        ({"target_fraction": 0}, "target_fraction: .* found 0"),
        ({"history_split_rate": 1.5}, r"history_split_rate: .* found 1\.5"),
        ({"input_dropout": 1}, "input_dropout: .* found 1"),
        ({"hide": 0.5}, "hide is no setting"),
        ({"hidden_size": 9, "heads": 2}, "^hidden_size 9 is not a multiple of heads 2$"),
        ({"loss": "cosine"}, "^target=liked needs loss=softmax"),
        ({"attention": "masked"}, "^target=liked needs .*attention=causal"),
        ({"order": "item"}, "^target=liked needs order=time"),
        ({"rating_input": "multiply"}, "^target=liked needs order=time and rating_input=embed"),
        ({"target": "best-rated", "readout": "pooler"}, "^readout=pooler needs attention=masked or padded"),
        (
            {"target": "best-rated", "readout": "pooler", "attention": "masked"},
            "^readout=pooler has no linear answer to add: set blend_overall=0",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(changes, said):
    with pytest.raises(SettingsError, match=said) as refused:
        resolve_settings(**changes)
    assert "\n" not in str(refused.value)


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match="preset 'sage' is unknown; expected one of taste, bert-cosine"):
        resolve_settings("sage")


@pytest.mark.parametrize(
    ("preset", "changes", "message"),
    [
        ("seed", {}, "^preset 'seed' is now 'bert-cosine'$"),
        ("bert-cosine", {"item_vectors": "note"}, "^item_vectors 'note' is now 'genome-svd'$"),
    ],
)
def test_resolve_settings_old_value_names_new_value(preset, changes, message):
    with pytest.raises(SettingsError, match=message):
        resolve_settings(preset, **changes)


def test_histories_share_rows_only_where_a_film_sees_no_later_one():
    assert resolve_settings(sequence_packing="true").sequence_packing
    with pytest.raises(
        SettingsError, match="sequence_packing needs attention=causal, found padded: set attention=causal or"
    ):
        resolve_settings("bert-cosine", sequence_packing=True)


def test_what_costs_memory_or_time_alone_is_as_it_was_measured_by_default():
    settings = resolve_settings()
    assert (settings.gradient_accumulation_steps, settings.sequence_packing, settings.precision) == (
        1,
        True,
        "float32",
    )
