"""A short campaign, on the clusters that tests may break: nothing is lost, doubled, stuck or wrongly blamed, and every dossier holds."""

from collections.abc import Iterator

import pytest

from tests.campaign.campaign import Campaign, told
from tests.campaign.house import House, open_house
from tests.fixtures.kubernetes import KubernetesBed
from tests.fixtures.slurm import SlurmBed

pytestmark = [pytest.mark.docker, pytest.mark.dockerd, pytest.mark.slurm, pytest.mark.kubernetes, pytest.mark.postgres, pytest.mark.prefect,
              pytest.mark.mlflow, pytest.mark.slow, pytest.mark.timeout(1_200)]  # fmt: skip

RUNS, SEED = 30, 7


@pytest.fixture(scope="module")
def house(fragile_bed: SlurmBed, fragile_kubernetes: KubernetesBed) -> Iterator[House]:
    with open_house(fragile_bed, fragile_kubernetes) as house:
        yield house


def test_nothing_goes_wrong_in_a_short_campaign(house: House) -> None:
    result = Campaign(house, RUNS, SEED).run()
    assert {name: found for name, found in result.wrong.items() if found} == {}, told(result)
    assert sum(result.ends.values()) == RUNS
    assert len(result.faults) >= 5, "the runs were over before much had happened"
    assert result.started >= RUNS, "the sites' records were not found"
