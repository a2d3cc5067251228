"""Settings that change while a broker runs: which they are, and what a broker does with those it does not know."""

from automq_broker.assembly.broker_configs import LiveConfigs
from automq_broker.contract.dynamic_configs import DYNAMIC_CONFIGS
from automq_broker.meta.commands import SetConfigs
from automq_broker.meta.rows import ResourceType
from automq_broker.settings import load_settings
from automq_broker.settings.fields import Update
from automq_broker.settings.load import SPECS
from twins.meta_port import MetaPort
from twins.meta_world import MetaWorld


def test_the_contract_names_every_setting_that_all_brokers_can_change_at_run_time() -> None:
    changeable = {spec.name for spec in SPECS.values() if spec.update is not Update.READ_ONLY}
    assert changeable - {"cordoned.log.dirs"} == DYNAMIC_CONFIGS


def test_what_a_broker_of_another_version_let_in_leaves_the_other_settings_in_force() -> None:
    world = MetaWorld(nodes=1)
    configs = LiveConfigs(load_settings(), MetaPort(world))
    given = {"log.retention.ms": "5000", "of.another.version": "1", "num.partitions": "7"}
    world.do(SetConfigs(resource_type=ResourceType.BROKER, resource_name="", upserts=given))
    assert configs.settings.topics.log_retention_ms == 5000
    assert configs.settings.topics.num_partitions == load_settings().topics.num_partitions
