"""Eclipse SUMO in this process: the network, whoever is on it, and what it says of emissions and contacts.

Scripted road users and the pilot's vehicle are put where they are (`moveToXY`, free placement); only SUMO's own drivers move by
themselves. One world lives in a process.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.geometry import SIZES, Body
from harness.scenario import Scenario

os.environ.setdefault("LIBSUMO_AS_TRACI", "quiet")  # it prints about other packages otherwise

NETWORK = Path(__file__).with_name("networks") / "world.net.xml"
EGO = "ego"
FREE = 2
"""`keepRoute` of moveToXY: exactly there, on whatever road that is."""
KINDS = {"car": "passenger", "lorry": "truck"}
LATERAL = 0.8
"""Width of SUMO's sublanes (m): lane changes take time, instead of a step."""
FASTEST = 60.0


class World:
    """One scenario at a time: `open`, then `advance` step by step."""

    def __init__(self) -> None:
        import libsumo

        self._sumo: Any = libsumo
        self._options: list[str] = []
        self._before: dict[str, tuple[float, float]] = {}
        self._scenario: Scenario | None = None

    def open(self, scenario: Scenario, *, driven: bool) -> Body:
        """Everybody in place, at the first moment; returns the vehicle under test.

        Args:
            driven: SUMO's own driver is in the place of the pilot.
        """
        self._load(scenario)
        self._scenario, self._k = scenario, 0
        vehicle, place = self._sumo.vehicle, scenario.place
        self._sumo.route.add("route", list(place.route))
        self._add(EGO, "under-test", scenario.speed)
        vehicle.setMaxSpeed(EGO, scenario.speed if driven else FASTEST)
        for index, body in enumerate(track[0] for track in scenario.tracks):
            if body.kind == "pedestrian":
                self._sumo.person.add(self._name(index), place.route[0], 1.0)
                self._sumo.person.appendWaitingStage(self._name(index), 1e5)
            else:
                self._add(self._name(index), body.kind, math.hypot(body.vx, body.vy))
        for index, driver in enumerate(scenario.traffic):
            self._add_driver(f"d{index}", driver)
        length, width = SIZES["car"]
        ego = Body("car", length, width, 0.0, 0.0, 0.0, scenario.speed, 0.0)
        self._put(EGO, ego)
        self._put_actors()
        self._sumo.simulationStep()
        vehicle.setLaneChangeMode(EGO, 0)
        vehicle.setPreviousSpeed(EGO, scenario.speed)
        if not driven:
            vehicle.setSpeedMode(EGO, 0)
        self._free_actors()
        return ego

    def advance(self, ego: Body | None) -> Body:
        """One step. The vehicle under test is put where `ego` says; None: SUMO's own driver takes it where it will. Returns where it is."""
        self._k += 1
        self._put_actors()
        if ego is not None:
            self._put(EGO, ego)
            self._sumo.vehicle.setSpeed(EGO, max(ego.vx, 0.0))
        self._sumo.simulationStep()
        return ego if ego is not None else self._body(EGO)

    def others(self) -> list[tuple[int, Body]]:
        """Everybody else at this moment, by numbers that stay: scripted ones as their script says, drivers as SUMO says."""
        assert self._scenario is not None  # noqa: S101 - opened
        if not self._scenario.traffic:
            return [(index, track[self._k]) for index, track in enumerate(self._scenario.tracks)]
        return [(int(name[1:]), self._body(name)) for name in self._sumo.vehicle.getIDList() if name != EGO]

    def co2(self) -> float:
        """What the vehicle under test emits now (g/s), by SUMO's HBEFA4 class for a petrol car."""
        return float(self._sumo.vehicle.getCO2Emission(EGO)) / 1000

    def acceleration(self) -> float:
        """Of the vehicle under test, as SUMO realised it in the last step (m/s²)."""
        return float(self._sumo.vehicle.getAcceleration(EGO))

    def contacts(self) -> list[str]:
        """Whom SUMO itself says the vehicle under test touches: numbers of actors or drivers, as text."""
        pairs = [(found.collider, found.victim) for found in self._sumo.simulation.getCollisions()]
        return [other[1:] for pair in pairs if EGO in pair for other in pair if other != EGO]

    def _load(self, scenario: Scenario) -> None:
        options = [
            "--net-file", str(NETWORK), "--step-length", str(scenario.step), "--seed", str(scenario.seed), "--step-method.ballistic",
            "--lateral-resolution", str(LATERAL), "--collision.action", "warn", "--collision.check-junctions", "--collision.mingap-factor", "0",
            "--time-to-teleport", "-1", "--no-step-log", "--no-warnings", "--xml-validation", "never",
        ]  # fmt: skip
        if self._options:
            self._sumo.load(options)
        else:
            self._sumo.start(["sumo", *options])
        self._options, self._before = options, {}
        for kind, vehicle_class in (*KINDS.items(), ("under-test", "passenger")):
            length, width = SIZES.get(kind, SIZES["car"])
            types = self._sumo.vehicletype
            types.copy("DEFAULT_VEHTYPE", kind)
            types.setVehicleClass(kind, vehicle_class)
            types.setLength(kind, length)
            types.setWidth(kind, width)
            types.setImperfection(kind, 0.5 if scenario.traffic and kind != "under-test" else 0.0)
            types.setSpeedDeviation(kind, 0.0)
            types.setMaxSpeed(kind, FASTEST)
        self._sumo.vehicletype.setApparentDecel("under-test", 9.0)  # whoever follows it must expect what the pilot may do

    def _name(self, index: int) -> str:
        return f"a{index}"

    def _add(self, name: str, kind: str, speed: float) -> None:
        """A vehicle that is put in its place afterwards."""
        self._sumo.vehicle.add(name, "route", typeID=kind, departSpeed=str(speed), departLane="first", departPos="0")

    def _add_driver(self, name: str, driver: Any) -> None:
        assert self._scenario is not None  # noqa: S101 - opened
        front = self._scenario.place.x + driver.x + SIZES[driver.kind][0] / 2
        vehicle = self._sumo.vehicle
        vehicle.add(name, "route", typeID=driver.kind, departSpeed=str(driver.speed), departLane=str(driver.lane), departPos=str(front))
        vehicle.setSpeedFactor(name, driver.wish)

    def _put(self, name: str, body: Body) -> None:
        """A vehicle where `body` is. SUMO's position is the middle of the front bumper, its angle in degrees from north, clockwise."""
        assert self._scenario is not None  # noqa: S101 - opened
        place = self._scenario.place
        x = place.x + body.x + math.cos(body.heading) * body.length / 2
        y = place.y + body.y + math.sin(body.heading) * body.length / 2
        if body.kind == "pedestrian":
            self._sumo.person.moveToXY(name, "", x, y, 90 - math.degrees(body.heading), FREE)
        else:
            self._sumo.vehicle.moveToXY(name, "", -1, x, y, 90 - math.degrees(body.heading), FREE)

    def _put_actors(self) -> None:
        assert self._scenario is not None  # noqa: S101 - opened
        for index, track in enumerate(self._scenario.tracks):
            body = track[self._k]
            self._put(self._name(index), body)
            if body.kind != "pedestrian" and self._k:
                self._sumo.vehicle.setSpeed(self._name(index), math.hypot(body.vx, body.vy))

    def _free_actors(self) -> None:
        """Scripted vehicles obey their script, and none of SUMO's rules."""
        assert self._scenario is not None  # noqa: S101 - opened
        for index, track in enumerate(self._scenario.tracks):
            if track[0].kind != "pedestrian":
                self._sumo.vehicle.setSpeedMode(self._name(index), 0)
                self._sumo.vehicle.setLaneChangeMode(self._name(index), 0)

    def _body(self, name: str) -> Body:
        """A vehicle as SUMO has it. What it does sideways is the difference to the step before: SUMO has no speed of a change of angle."""
        assert self._scenario is not None  # noqa: S101 - opened
        vehicle, place = self._sumo.vehicle, self._scenario.place
        (x, y), speed, heading = vehicle.getPosition(name), vehicle.getSpeed(name), math.radians(90 - vehicle.getAngle(name))
        length, width = SIZES["lorry" if name != EGO and self._is_lorry(name) else "car"]
        x, y = x - place.x - math.cos(heading) * length / 2, y - place.y - math.sin(heading) * length / 2
        before = self._before.get(name, (x, y))
        self._before[name] = (x, y)
        sideways = (y - before[1]) / self._scenario.step
        return Body("lorry" if length == SIZES["lorry"][0] else "car", length, width, x, y, heading, speed, sideways)

    def _is_lorry(self, name: str) -> bool:
        assert self._scenario is not None  # noqa: S101 - opened
        return self._scenario.traffic[int(name[1:])].kind == "lorry"
