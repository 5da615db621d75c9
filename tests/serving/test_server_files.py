import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from scnn_tf.errors import InputError
from scnn_tf.serving.server_files import write_server_files


def read_config(folder):
    config = ModelServerConfig()
    text_format.Parse((folder / "models.config").read_text(), config)
    return list(config.model_config_list.config)


def test_labels_move_and_unlabelled_versions_are_not_served(tmp_path):
    write_server_files(tmp_path / "scnn", 1, "stable")
    write_server_files(tmp_path / "scnn", 2, "canary")
    (model,) = read_config(tmp_path)
    assert (model.name, model.base_path) == ("scnn", "/models/scnn")
    assert model.model_platform == "tensorflow"
    assert dict(model.version_labels) == {"stable": 1, "canary": 2}
    assert list(model.model_version_policy.specific.versions) == [1, 2]

    write_server_files(tmp_path / "scnn", 2, "stable")
    (model,) = read_config(tmp_path)
    assert dict(model.version_labels) == {"stable": 2, "canary": 2}
    assert list(model.model_version_policy.specific.versions) == [2]


def test_entries_of_other_models_do_not_change(tmp_path):
    write_server_files(tmp_path / "first", 1, "stable")
    write_server_files(tmp_path / "second", 7, "stable")
    first, second = read_config(tmp_path)
    assert (first.name, dict(first.version_labels)) == ("first", {"stable": 1})
    assert (second.name, dict(second.version_labels)) == ("second", {"stable": 7})


def test_a_policy_and_a_path_set_by_hand_do_not_change(tmp_path):
    (tmp_path / "models.config").write_text(
        'model_config_list { config { name: "scnn" base_path: "/elsewhere/scnn" '
        'model_platform: "tensorflow" model_version_policy { all {} } } }'
    )
    write_server_files(tmp_path / "scnn", 3, "stable")
    (model,) = read_config(tmp_path)
    assert model.base_path == "/elsewhere/scnn"
    assert model.model_version_policy.HasField("all")
    assert dict(model.version_labels) == {"stable": 3}


def test_a_broken_config_is_not_overwritten(tmp_path):
    (tmp_path / "models.config").write_text("model_config_list {")
    with pytest.raises(InputError, match="models.config: not a model server's configuration"):
        write_server_files(tmp_path / "scnn", 1, "stable")
    assert (tmp_path / "models.config").read_text() == "model_config_list {"


def message(name: str, **fields: str):
    """Returns an empty message of a schema that is not in tensorflow-serving-api.

    Args:
        name: Name of the message.
        fields: Name → type: "bool", "string", "int64", "value" (an Int64Value), "+int64"
            (repeated).
    """
    kinds = {"bool": 8, "string": 9, "int64": 3, "value": 11}
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", syntax="proto3")
    inner = file.message_type.add(name="Value")
    inner.field.add(name="value", number=1, type=3, label=1)
    top = file.message_type.add(name=name)
    for number, (field, kind) in enumerate(fields.items(), start=1):
        label = 3 if kind.startswith("+") else 1
        added = top.field.add(name=field, number=number, type=kinds[kind.lstrip("+")], label=label)
        if kind == "value":
            added.type_name = ".Value"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()


def test_batching_and_monitoring_files_parse_as_tensorflow_serving_s_messages(tmp_path):
    write_server_files(tmp_path / "scnn", 1, "stable")
    # session_bundle_config.proto, BatchingParameters.
    batching = text_format.Parse(
        (tmp_path / "batching.config").read_text(),
        message(
            "BatchingParameters", max_batch_size="value", batch_timeout_micros="value",
            max_enqueued_batches="value", num_batch_threads="value", allowed_batch_sizes="+int64",
        ),
    )  # fmt: skip
    # The allowed sizes must increase, and end with the largest batch.
    assert batching.allowed_batch_sizes[-1] == batching.max_batch_size.value == 32
    assert sorted(set(batching.allowed_batch_sizes)) == list(batching.allowed_batch_sizes)
    # monitoring_config.proto, MonitoringConfig, which has a PrometheusConfig.
    text = (tmp_path / "monitoring.config").read_text()
    inside = text[text.index("{") + 1 : text.rindex("}")]
    prometheus = text_format.Parse(
        inside, message("PrometheusConfig", enable="bool", path="string")
    )
    assert prometheus.enable and prometheus.path.startswith("/")
