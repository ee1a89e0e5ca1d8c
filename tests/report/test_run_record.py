from nmt5.report.run_record import ALL, RunRecord, read_run


def test_losses_are_found_by_their_names():
    record = RunRecord(
        "run",
        "nowhere",
        metrics=(
            {"step": 1, "train/loss": 3.0, "train/loss/nmt": 4.0, "train/z_loss": 9.0},
            {"step": 2, "train/loss": 2.0, "train/loss/nmt": None, "heldout/nmt/loss/de": 5.0},
        ),
    )
    assert record.train_losses() == {ALL: [(1.0, 3.0), (2.0, 2.0)], "nmt": [(1.0, 4.0)]}
    assert record.heldout_losses() == {"nmt de": [(2.0, 5.0)]}
    assert record.last("train/loss/nmt") == 4.0 and record.last("nothing") is None
    assert record.num_steps == 2


def test_a_directory_is_read_whole(run_directories):
    record = read_run(run_directories["MLM+NMT"], name="MLM+NMT")
    assert len(record.metrics) == 6  # the half-written seventh is passed over
    assert sorted(record.sampled) == ["mono.de", "mono.iw", "nmt.en_iw"]
    assert record.num_truncated == 7 and record.mixture.name == "toy"
    assert record.scores["signature"]["step"] == 60 and len(record.starts) == 1
    assert record.settings.startswith("ModelConfig.emb_dim")


def test_time_in_steps_leaves_out_pauses():
    record = RunRecord(
        "run",
        "nowhere",
        metrics=(
            {"step": 10, "unix_seconds": 0, "speed/steps_per_second": 2.0},
            {"step": 10, "heldout/nmt/loss": 1.0},
            {"step": 30, "unix_seconds": 90000, "speed/steps_per_second": 4.0},
        ),
    )
    assert record.seconds_of_steps == 5 + 5
    assert RunRecord("run", "nowhere").seconds_of_steps is None
