"""Training settings: presets, parsing and refusals."""

import pytest

from tastevec.errors import SettingsError
from tastevec.training.settings import PRESETS, NoteSettings, TasteSettings, resolve_settings


def test_bert_cosine_has_the_values_of_the_research_note():
    expected = {
        "backbone": "bert-base-cased",
        "layers": 2,
        "dim": 64,
        "item_vectors": "genome-svd",
        "max_history": 512,
        "epochs": 4,
        "batch_size": 4,
        "learning_rate": 1e-4,
        "weight_decay": 0.01,
        "warmup": 0.0,
        "seed": 42,
    }
    settings = resolve_settings("bert-cosine").model_dump()
    assert {name: settings[name] for name in expected} == expected


def test_each_preset_refuses_settings_of_the_other():
    shared = TasteSettings.model_fields.keys() & NoteSettings.model_fields.keys()
    for preset, other in (("taste", NoteSettings), ("bert-cosine", TasteSettings)):
        for name in other.model_fields.keys() - shared:
            with pytest.raises(
                SettingsError, match=f"^{name}: not a setting of preset {preset}. It is a setting of"
            ):
                resolve_settings(preset, **{name: 1})


@pytest.mark.parametrize("preset", PRESETS)
def test_resolve_settings_changes_the_given_setting_alone(preset):
    before, after = resolve_settings(preset), resolve_settings(preset, max_history=7)
    assert before.model_copy(update={"max_history": 7}) == after
    assert after.preset == preset


def test_resolve_settings_parses_strings_as_the_type_of_the_setting():
    settings = resolve_settings(epochs="2", time_gaps="false", learning_rate="1e-3", item_vectors="content")
    found = (settings.epochs, settings.time_gaps, settings.learning_rate, settings.item_vectors)
    assert found == (2, False, 1e-3, "content")


@pytest.mark.parametrize("settings", PRESETS.values())
def test_every_setting_has_a_description(settings):
    assert all(field.description for field in settings.model_fields.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"epoch": 3},
            r"epoch: not a setting of preset taste. Did you mean epochs\? Expected one of .*epochs",
        ),
        ({"epochs": -1}, "epochs: -1. Expected: greater than or equal to 0"),
        ({"epochs": "many"}, "epochs: 'many'. Expected: a valid integer"),
        ({"precision": "half"}, "precision: 'half'. Expected: .*bfloat16"),
        ({"seed": -1}, "seed: -1"),
        ({"seed": 2**32}, "seed: "),
        ({"warmup": 1}, "warmup: 1"),
        ({"target_fraction": 0}, "target_fraction: 0"),
        ({"history_split_rate": 1.5}, r"history_split_rate: 1\.5"),
        ({"input_dropout": 1}, "input_dropout: 1"),
        ({"hide": 0.5}, "hide: not a setting"),
        ({"hidden_size": 9, "heads": 2}, "^hidden_size: 9 with 2 heads. Expected a multiple of heads.$"),
        ({"accumulate": 2}, "^accumulate is now gradient_accumulation_steps$"),
        ({"packed": True}, "^packed is now sequence_packing$"),
    ],
)
def test_resolve_settings_bad_value_is_refused_in_one_line(changes, message):
    with pytest.raises(SettingsError, match=message) as refused:
        resolve_settings(**changes)
    assert "\n" not in str(refused.value)


def test_resolve_settings_unknown_preset_is_refused_with_known_ones():
    with pytest.raises(SettingsError, match=r"preset: 'sage'. Expected one of taste, bert-cosine, direction"):
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
