"""Eclipse SUMO in this process: the network, whoever is on it, and what it says of emissions and contacts.

The pilot's vehicle is put where it is (`moveToXY`, free placement), and so are scripted road users, but for those that keep to their lane:
they get their speeds. Only SUMO's own drivers move by themselves. One world lives in a process.
"""

import math
import os
from pathlib import Path
from typing import Any

from harness.geometry import SIZES, Body
from harness.scenario import LANE, Actor, Driver, Scenario

os.environ.setdefault("LIBSUMO_AS_TRACI", "quiet")  # it prints about other packages otherwise

NETWORK = Path(__file__).with_name("networks") / "world.net.xml"
EGO, UNDER_TEST = "ego", "under-test"
FREE = 2
"""`keepRoute` of moveToXY: exactly there, on whatever road that is."""
CLASSES = {"car": "passenger", "lorry": "truck", UNDER_TEST: "passenger"}
SUBLANE = "0.8"
"""Width of SUMO's sublanes (m) where somebody is put between lanes."""
CHANGING = "3"
"""Seconds that a lane change takes among SUMO's own drivers. Sublanes would take four times as long to compute there."""
HARDEST = 9.0
"""What SUMO's drivers expect of the vehicle under test, which may brake that hard (m/s²)."""
FASTEST = 60.0
REACH = 150.0
"""Metres around the vehicle under test within which SUMO's own drivers are looked at."""


class World:
    """One scenario at a time: `open`, then `advance` step by step."""

    def __init__(self) -> None:
        import libsumo
        from traci import constants

        self._sumo: Any = libsumo
        self._variables: tuple[int, int, int] = (constants.VAR_POSITION, constants.VAR_SPEED, constants.VAR_ANGLE)
        self._context: int = constants.CMD_GET_VEHICLE_VARIABLE
        self._scenario: Scenario | None = None
        self._options: list[str] = []
        self._scripted: list[tuple[str, Actor, list[Body]]] = []
        self._before: dict[str, tuple[float, float]] = {}
        self._k = 0

    @property
    def scenario(self) -> Scenario:
        """The one that is open."""
        if self._scenario is None:
            msg = "no scenario is open; `open` comes first."
            raise RuntimeError(msg)
        return self._scenario

    def open(self, scenario: Scenario, *, driven: bool) -> Body:
        """Everybody in place, at the first moment; returns the vehicle under test.

        Args:
            driven: SUMO's own driver is in the place of the pilot.
        """
        self._empty(scenario)
        self._scenario, self._k, self._before = scenario, 0, {}
        vehicle, route = self._sumo.vehicle, self._route(scenario.place.route)
        vehicle.add(EGO, route, typeID=UNDER_TEST, departLane="first", departPos="0")
        vehicle.setMaxSpeed(EGO, scenario.speed if driven else FASTEST)
        pairs = zip(scenario.actors, scenario.tracks, strict=True)
        self._scripted = [(f"a{index}", actor, track) for index, (actor, track) in enumerate(pairs) if not actor.beside]
        for name, actor, track in self._scripted:
            if actor.kind == "pedestrian":
                self._sumo.person.add(name, scenario.place.route[0], 1.0)
                self._sumo.person.appendWaitingStage(name, 1e5)
            else:
                vehicle.add(name, self._route(actor.route or scenario.place.route), typeID=actor.kind, departLane="first", departPos="0")
            self._put(name, track[0])
        for index, driver in enumerate(scenario.traffic):
            self._add_driver(f"d{index}", driver, route)
        length, width = SIZES["car"]
        ego = Body("car", length, width, 0.0, 0.0, 0.0, scenario.speed, 0.0)
        self._put(EGO, ego)
        self._sumo.simulationStep()
        self._free(EGO, scenario.speed, obeying=driven)
        for name, actor, _ in self._scripted:
            if actor.kind != "pedestrian":
                self._free(name, actor.speed, obeying=False)
        for index, driver in enumerate(scenario.traffic):
            vehicle.setPreviousSpeed(f"d{index}", driver.speed)
        if scenario.traffic:
            vehicle.subscribeContext(EGO, self._context, REACH, self._variables)
        return ego

    def advance(self, ego: Body | None) -> Body:
        """One step. The vehicle under test is put where `ego` says; None: SUMO's own driver takes it where it will. Returns where it is."""
        self._k += 1
        for name, actor, track in self._scripted:
            self._move(name, actor, track[self._k])
        if ego is not None:
            self._put(EGO, ego)
            self._sumo.vehicle.setSpeed(EGO, ego.vx)
        self._sumo.simulationStep()
        return self.standing(EGO) if ego is None else ego

    def others(self) -> list[tuple[int, Body]]:
        """Everybody else at this moment, by numbers that stay: scripted ones as their script says, drivers in reach as SUMO says."""
        if not self.scenario.traffic:
            return [(index, track[self._k]) for index, track in enumerate(self.scenario.tracks)]
        position, speed, angle = self._variables
        found = self._sumo.vehicle.getContextSubscriptionResults(EGO)
        return [(int(name[1:]), self._body(name, one[position], one[speed], one[angle])) for name, one in found.items() if name != EGO]

    def standing(self, name: str) -> Body:
        """A vehicle as SUMO has it: `ego`, or an actor as `a0`, a driver as `d0`."""
        vehicle = self._sumo.vehicle
        return self._body(name, vehicle.getPosition(name), vehicle.getSpeed(name), vehicle.getAngle(name))

    def co2(self) -> float:
        """What the vehicle under test emits now (g/s), by SUMO's default emission class (HBEFA, a petrol car)."""
        return float(self._sumo.vehicle.getCO2Emission(EGO)) / 1000

    def contacts(self) -> list[str]:
        """Whom SUMO itself says the vehicle under test touches, by its names."""
        pairs = [(found.collider, found.victim) for found in self._sumo.simulation.getCollisions()]
        return [other for pair in pairs if EGO in pair for other in pair if other != EGO]

    def _empty(self, scenario: Scenario) -> None:
        """An empty network, with that scenario's step. Traffic gets a simulation of its own: chance is a part of it."""
        options = [
            "--net-file", str(NETWORK), "--step-length", str(scenario.step), "--seed", str(scenario.seed), "--step-method.ballistic",
            *(("--lanechange.duration", CHANGING) if scenario.traffic else ("--lateral-resolution", SUBLANE)),
            "--collision.action", "warn", "--collision.check-junctions", "--collision.mingap-factor", "0", "--time-to-teleport", "-1",
            "--no-step-log", "--no-warnings", "--xml-validation", "never",
        ]  # fmt: skip
        if self._options == options and not scenario.traffic:
            self._sumo.vehicle.remove(EGO)
            for name, actor, _ in self._scripted:
                if actor.kind == "pedestrian":
                    self._sumo.person.removeStages(name)
                else:
                    self._sumo.vehicle.remove(name)
            self._sumo.simulationStep()
            return
        if self._options:
            self._sumo.load(options)
        else:
            self._sumo.start(["sumo", *options])
        self._options = options
        self._define_types(imperfection=0.5 if scenario.traffic else 0.0)

    def _define_types(self, imperfection: float) -> None:
        """Kinds of vehicle. SUMO's own drivers are imperfect among themselves; the one who is compared with the pilot is not."""
        types = self._sumo.vehicletype
        for kind, vehicle_class in CLASSES.items():
            length, width = SIZES.get(kind, SIZES["car"])
            types.copy("DEFAULT_VEHTYPE", kind)
            types.setVehicleClass(kind, vehicle_class)
            types.setLength(kind, length)
            types.setWidth(kind, width)
            types.setMaxSpeed(kind, FASTEST)
            types.setSpeedDeviation(kind, 0.0)
            types.setImperfection(kind, 0.0 if kind == UNDER_TEST else imperfection)
        types.setApparentDecel(UNDER_TEST, HARDEST)

    def _route(self, edges: tuple[str, ...]) -> str:
        """The name of a route over those edges."""
        name = " ".join(edges)
        if name not in self._sumo.route.getIDList():
            self._sumo.route.add(name, list(edges))
        return name

    def _add_driver(self, name: str, driver: Driver, route: str) -> None:
        """One of SUMO's own drivers. It is put there, since SUMO's insertion would let most of them wait."""
        length, width = SIZES[driver.kind]
        y = (driver.lane - self.scenario.place.lane) * LANE
        self._sumo.vehicle.add(name, route, typeID=driver.kind, departLane="first", departPos="0")
        self._sumo.vehicle.setSpeedFactor(name, driver.wish)
        self._put(name, Body(driver.kind, length, width, driver.x, y, 0.0, driver.speed, 0.0))

    def _free(self, name: str, speed: float, *, obeying: bool) -> None:
        """At its first speed, in its lane, and (unless it is obeying) free of SUMO's rules."""
        vehicle = self._sumo.vehicle
        vehicle.setPreviousSpeed(name, speed)
        vehicle.setLaneChangeMode(name, 0)
        if not obeying:
            vehicle.setSpeedMode(name, 0)
            vehicle.setSpeed(name, speed)

    def _move(self, name: str, actor: Actor, body: Body) -> None:
        """A scripted road user to where its script says. Straight along its road, SUMO takes it to the same place by itself."""
        if actor.kind == "pedestrian" or actor.shift is not None:
            self._put(name, body)
        if actor.kind != "pedestrian":
            self._sumo.vehicle.setSpeed(name, body.vx if actor.heading == 0 else abs(body.vy))

    def _put(self, name: str, body: Body) -> None:
        """A road user where `body` is. SUMO's position is the middle of the front, its angle in degrees from north, clockwise."""
        place = self.scenario.place
        x = place.x + body.x + math.cos(body.heading) * body.length / 2
        y = place.y + body.y + math.sin(body.heading) * body.length / 2
        if body.kind == "pedestrian":
            self._sumo.person.moveToXY(name, "", x, y, 90 - math.degrees(body.heading), FREE)
        else:
            self._sumo.vehicle.moveToXY(name, "", -1, x, y, 90 - math.degrees(body.heading), FREE)

    def _body(self, name: str, position: tuple[float, float], speed: float, angle: float) -> Body:
        """A vehicle from what SUMO says of it. What it does sideways is the difference to the step before."""
        kind = "car" if name == EGO else self._kind(name)
        (length, width), heading, place = SIZES[kind], math.radians(90 - angle), self.scenario.place
        x = position[0] - place.x - math.cos(heading) * length / 2
        y = position[1] - place.y - math.sin(heading) * length / 2
        before = self._before.get(name, (x, y))
        self._before[name] = (x, y)
        return Body(kind, length, width, x, y, heading, speed * math.cos(heading), (y - before[1]) / self.scenario.step)

    def _kind(self, name: str) -> str:
        return self.scenario.traffic[int(name[1:])].kind if name[0] == "d" else self.scenario.actors[int(name[1:])].kind
