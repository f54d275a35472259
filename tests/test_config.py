"""Settings come from TOML, go back to it, and each mistake is one sentence."""

import pytest

from stemkin.config import ConfigError, RunConfig


def test_settings_survive_the_way_to_toml_and_back():
    config = RunConfig.from_toml(
        '[calibration]\npixel_size_nm = 0.03\n[kinetics]\ndiffusion_methods = ["cve"]\nconfidence '
        "= 0.9"
    )
    assert RunConfig.from_toml(config.to_toml()) == config
    assert config.kinetics.confidence == 0.9


def test_every_default_is_valid_toml():
    assert RunConfig.from_toml(RunConfig().to_toml()) == RunConfig()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[link]\nmax_stepp_nm = 1",
            r"the settings have no key 'link.max_stepp_nm'; \[link\] knows max_step_nm, "
            r"max_gap_frames, lattice",
        ),
        ("[lnk]\n", r"the settings have no key 'lnk'; the file knows calibration, input, learn"),
        (
            "[link]\nmax_step_nm = -1",
            r"link.max_step_nm cannot be -1: input should be greater than 0",
        ),
        ("[link]\nlattice = 0.3", r"link.lattice cannot be 0.3: input should be a valid boolean"),
        (
            "[link]\nlattice = 'yes'",
            r"link.lattice cannot be 'yes': input should be a valid boolean",
        ),
        (
            "[kinetics]\nmeeting_reach_nm = 0",
            r"kinetics.meeting_reach_nm cannot be 0: input should be greater than 0",
        ),
        ("[kinetics]\nconfidence = 95", r"kinetics.confidence cannot be 95"),
        ("[detect]\ndevice = 'tpu'", r"detect.device cannot be 'tpu'"),
        ("[detect", r"no valid TOML"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_key_and_the_cure(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        RunConfig.from_toml(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read"):
        RunConfig.from_file(tmp_path / "nowhere.toml")


def test_the_command_line_overrides_the_file_key_by_key():
    config = RunConfig.from_toml("[calibration]\npixel_size_nm = 0.03\nframe_time_s = 2.25")
    changed = config.with_values(calibration={"pixel_size_nm": 0.05, "frame_time_s": None})
    assert changed.calibration.pixel_size_nm == 0.05
    assert changed.calibration.frame_time_s == 2.25


def test_every_setting_is_documented_and_the_document_is_a_file_of_the_defaults():
    document = RunConfig.documented()
    for section, about in RunConfig.model_fields.items():
        for name, field in about.annotation.model_fields.items():
            assert field.description, f"{section}.{name}"
            assert field.description.endswith("."), f"{section}.{name}"
            assert f"# {field.description}" in document
    assert RunConfig.from_toml(document) == RunConfig()
    # what is unset is set by taking the sign away
    chosen = document.replace("# pixel_size_nm =", "pixel_size_nm = 0.03")
    assert RunConfig.from_toml(chosen).calibration.pixel_size_nm == 0.03


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("link", r"a setting is said like 'link.max_step_nm=0.7', but this is 'link'"),
        ("max_step_nm=0.7", r"a setting is said like 'link.max_step_nm=0.7'"),
        ("link.=0.7", r"a setting is said like"),
        ("lnk.max_step_nm=0.7", r"the settings have no key 'lnk'"),
        ("link.max_stepp_nm=0.7", r"no key 'link.max_stepp_nm'; \[link\] knows max_step_nm"),
        ("link.max_step_nm=-1", r"link.max_step_nm cannot be -1"),
        ("link.max_step_nm=wide", r"link.max_step_nm cannot be 'wide'"),
        ("link.lattice=yes", r"link.lattice cannot be 'yes'"),
        ("detect.device=tpu", r"detect.device cannot be 'tpu'"),
    ],
)
def test_a_setting_that_is_no_setting_is_one_sentence(words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        RunConfig().with_words([words])


def test_settings_in_words_are_values_of_toml_or_bare_words():
    config = RunConfig().with_words(
        [
            "link.max_step_nm = 0.7",
            "link.lattice=true",
            "kinetics.diffusion_methods=['cve']",
            "learn.material=MoS2:V",
            "learn.seed=3",
            "learn.seed=4",
        ]
    )
    assert config.link.max_step_nm == 0.7
    assert config.link.lattice is True
    assert config.kinetics.diffusion_methods == ("cve",)
    assert config.learn.material == "MoS2:V"
    assert config.learn.seed == 4, "the last word counts"
