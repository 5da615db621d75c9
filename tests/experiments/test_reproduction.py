from scnn_tf.experiments import reproduction


def test_table_1_compares_the_paper_with_the_results():
    results = {
        "protocol": "thumos14", "videos": 3, "instances": 3, "classes": 2, "map": {"0.5": 0.25},
        "ap": {"BullChargeCape": {"0.5": 0.5}, "HorseRiding": {"0.5": 0.0}},
    }  # fmt: skip
    assert reproduction.tables("mexaction2", results).splitlines()[2:7] == [
        "| class | paper | here |",
        "|---|---|---|",
        "| BullChargeCape | 11.6 | 50.0 |",
        "| HorseRiding | 3.1 | 0.0 |",
        "| mean | 7.4 | 25.0 |",
    ]
