"""A longitudinal controller: keeps its lane, follows, anticipates cut-ins, gives way, and brakes in an emergency.

Two layers. The comfortable one is the intelligent driver model (Treiber, Hennecke & Helbing 2000) with limited jerk. The other
computes the deceleration that each road user demands, and takes over, without a limit of jerk, once that is more than comfortable.
"""

import math

from tracking import Tracks

HARDEST, STRONGEST = -9.0, 4.0  # of the action
BRISK, COMFORTABLE = 1.8, -3.0  # of the comfortable layer, m/s²
JERK = 4.0  # of the comfortable layer, m/s³
URGENT = -3.2  # more than this deceleration, and the other layer takes over
HEADWAY, STANDSTILL = 1.0, 2.0  # s, m
CLOSEST = 1.0  # m that must remain in an emergency
MARGIN = 1.2  # s between one leaving a crossing area and the other entering it
TIGHT = 0.3  # s, the same where the other ought to give way
YIELDING = 1.6  # m/s²: when giving way demands that much, braking begins


class Controller:
    """One episode's driver."""

    def begin(self, step_seconds):
        self.step = step_seconds
        self.tracks = Tracks(step_seconds)
        self.command, self.emergency = 0.0, False

    def act(self, observation):
        """The acceleration at this step (m/s²)."""
        ego, road = observation["ego"], observation["road"]
        users = self.tracks.update(ego, observation)
        speed = ego["speed"]
        demands = [self.follow(user, ego) for user in users if self.in_path(user, ego)]
        demands += [self.yield_to(user, ego, road) for user in users if user.kind == "pedestrian"]
        demands.append(self.cross(users, ego, road))
        needed = min((needed for needed, _ in demands), default=0.0)
        wished = min((wished for _, wished in demands), default=math.inf)
        free = BRISK * (1 - (speed / max(ego["set_speed"], 0.1)) ** 4)
        return self.blend(needed, max(min(free, wished), COMFORTABLE), speed)

    def blend(self, needed, wished, speed):
        """The next command: comfortable as long as that is enough."""
        if needed < URGENT:
            self.emergency = True
            self.command = min(self.command, max(1.25 * needed, HARDEST))
        elif self.emergency and (needed < 0.5 * URGENT) and speed > 0.1:
            pass  # as hard as it was, until little is needed: a brake that flutters helps nobody
        else:
            self.emergency = False
            change = JERK * self.step
            self.command = min(max(wished, self.command - change), self.command + change)
        return self.command

    def in_path(self, user, ego):
        """Is it in front and in the way, or coming there from the side?"""
        if user.x < 0 or abs(math.sin(user.heading)) > 0.5 or user.kind == "pedestrian":
            return False
        beside = abs(user.y) - (user.width + ego["width"]) / 2
        if beside < 0.1:
            return True
        towards = -math.copysign(1, user.y) * (user.vy + ego["lateral_speed"])
        moves = towards > 0.25 + 0.5 * self.tracks.noise or (towards > 0.12 and user.drifted > 0.3 + self.tracks.noise)
        return moves and beside / towards < 4.0

    def follow(self, user, ego):
        """What the one ahead demands: (at least needed, wished)."""
        speed = ego["speed"]
        gap = user.x - (user.length + ego["length"]) / 2
        closing = speed - user.vx
        room = max(gap - CLOSEST - 2 * self.tracks.noise, 0.1)
        needed = -(closing**2) / (2 * room) if closing > 0 else 0.0
        braking = max(-user.ax, 0.0)
        if braking > 1.0:  # it may go on so until it stands
            needed = min(needed, -(speed**2) / (2 * (room + user.vx**2 / (2 * braking))))
        desired = STANDSTILL + max(0.0, speed * HEADWAY + speed * closing / (2 * math.sqrt(BRISK * -COMFORTABLE)))
        return needed, BRISK * (1 - (speed / max(ego["set_speed"], 0.1)) ** 4 - (desired / max(gap, 0.1)) ** 2)

    def yield_to(self, user, ego, road):
        """What a pedestrian demands."""
        speed, zebra = ego["speed"], road["zebra"]
        distance = user.x - (user.length + ego["length"]) / 2
        past = user.x + (user.length + ego["length"]) / 2
        if past < 0:
            return 0.0, math.inf
        reach = (user.width + ego["width"]) / 2 + 0.6
        towards = -math.copysign(1, user.y) * user.vy
        on_zebra = zebra is not None and zebra["begins"] - 1 < distance and past - ego["length"] < zebra["ends"] + 1
        if abs(user.y) < reach:
            leaves = (reach + user.y * math.copysign(1, user.vy)) / max(abs(user.vy), 0.3) if abs(user.vy) > 0.2 else math.inf
            enters = 0.0
        elif towards > 0.3:
            enters, leaves = (abs(user.y) - reach) / towards, (abs(user.y) + reach) / towards
        elif on_zebra and math.hypot(user.vx, user.vy) < 0.5 and abs(user.y) < 8:  # stands there and may step out
            enters, leaves = 0.3, math.inf
        else:
            return 0.0, math.inf
        if past / max(speed, 0.1) + MARGIN < enters or (leaves < math.inf and distance / max(speed, 0.1) > leaves + MARGIN):
            return 0.0, math.inf
        stop = min(distance, zebra["begins"]) if on_zebra and zebra["begins"] > 0 else distance
        return stop_within(stop - 1.0, speed)

    def cross(self, users, ego, road):
        """What the traffic of a crossing road demands."""
        junction = road["junction"]
        crossing = [user for user in users if user.kind != "pedestrian" and abs(math.sin(user.heading)) > 0.5]
        if junction is None or junction["clear"] < 0 or not crossing:
            return 0.0, math.inf
        if junction["right_of_way"]:
            return min((self.trust(user, ego) for user in crossing), default=(0.0, math.inf))
        if all(self.passes(user, ego, MARGIN, 2.0) for user in crossing):
            return 0.0, math.inf
        if junction["stop_line"] > 0:
            return stop_within(junction["stop_line"] - 0.3, ego["speed"])
        return min((self.trust(user, ego) for user in crossing), default=(0.0, math.inf))

    def trust(self, user, ego):
        """What somebody demands who ought to give way: nothing while they stand, or if the way is clear in any case."""
        if math.hypot(user.vx, user.vy) < 0.3 or self.passes(user, ego, TIGHT, 0.0, worst=4.0):
            return 0.0, math.inf
        distance = user.x - user.width / 2 - ego["length"] / 2
        needed, wished = stop_within(distance - 0.8, ego["speed"])
        if needed < HARDEST and self.passes(user, ego, 0.0, 0.0):
            return 0.0, math.inf  # too late to stop, and still time to get by
        return needed, min(wished, needed)

    def passes(self, user, ego, margin, faster, worst=0.0):
        """Will we be past before it comes, or only come when it has gone?"""
        before = user.x - (user.width + ego["length"]) / 2
        after = user.x + (user.width + ego["length"]) / 2
        if after < 0:
            return True
        sign = math.copysign(1, user.vy) if abs(user.vy) > 0.1 else -math.copysign(1, user.y)
        way, half = -user.y * sign, (user.length + ego["width"]) / 2 + 0.3
        if way + half < 0:
            return True
        pace, soonest = abs(user.vy), max(user.ax, worst)
        enters, leaves = time_for(way - half, pace, soonest, 17.0), time_for(way + half, pace, 0.0, 17.0)
        speed, limit = ego["speed"], max(ego["set_speed"], ego["speed"])
        return time_for(after, speed, faster, limit) + margin < enters or time_for(before, speed, STRONGEST / 2, limit) > leaves + margin


def stop_within(distance, speed):
    """(Needed, wished) for standing still within that distance. Braking waits until it is worth it."""
    needed = -(speed**2) / (2 * max(distance, 0.1)) if speed > 0.05 else -0.2
    return needed, needed if needed < -YIELDING or distance < 1.0 else math.inf


def time_for(distance, speed, acceleration, fastest):
    """Seconds for that distance; never more than `fastest`."""
    if distance <= 0:
        return 0.0
    if acceleration <= 0 or speed >= fastest:
        return distance / speed if speed > 0.05 else math.inf
    reaching = (fastest - speed) / acceleration
    before = speed * reaching + acceleration * reaching**2 / 2
    if before >= distance:
        return (-speed + math.sqrt(speed**2 + 2 * acceleration * distance)) / acceleration
    return reaching + (distance - before) / fastest
