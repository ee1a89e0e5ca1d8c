from nmt5.report.run_record import ALL, RunRecord, read_run


def test_losses_are_found_by_their_names():
    record = RunRecord(
        "run",
        "nowhere",
        metrics=(
            {"step": 1, "train/loss": 3.0, "train/loss/nmt": 4.0, "train/z_loss": 9.0},
            {"step": 2, "train/loss": 2.0, "train/loss/nmt": None, "heldout/nmt/de/loss": 5.0},
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
    assert record.scores["signature"]["step"] == 60 and len(record.starts) == 1
    assert record.settings.startswith("ModelConfig.emb_dim")
