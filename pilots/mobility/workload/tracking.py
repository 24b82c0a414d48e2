"""Road users over time: what was seen late, with noise or not at every step, brought to the present."""

from collections import deque

FORGET = 1.0  # s without being seen, and it is gone
KNOWN_NOISE = 0.3  # m/s: how strongly noise makes measurements count less


class User:
    """One road user, relative to us (middle to middle, m); speeds over ground (m/s), acceleration along its own way (m/s²)."""

    def __init__(self, seen, x, y, vx, vy):
        self.kind, self.length, self.width, self.heading = seen["kind"], seen["length"], seen["width"], seen["heading"]
        self.x, self.y, self.vx, self.vy, self.ax = x, y, vx, vy, 0.0
        self.raw, self.unseen, self.began = deque([vx], maxlen=3), 0.0, y
        self.drifted = 0.0

    def move(self, seconds):
        """By what is known of it."""
        self.x, self.y = self.x + self.vx * seconds, self.y + self.vy * seconds
        self.unseen += seconds


class Tracks:
    """Everybody who was seen lately, over ground: x and y count from where the episode began."""

    def __init__(self, step):
        self.step, self.noise = step, 0.0
        self.users = {}
        self.way, self.offset = 0.0, 0.0
        self.past = deque(maxlen=40)

    def update(self, ego, observation):
        """The road users as they are now, relative to us."""
        if self.past:
            self.way += (self.past[-1][2] + ego["speed"]) / 2 * self.step
        self.past.append((self.way, ego["lateral_offset"], ego["speed"], ego["lateral_speed"]))
        for user in self.users.values():
            user.move(self.step)
        if observation["road_users"] is not None:
            late = min(round(observation["age"] / self.step), len(self.past) - 1)
            for seen in observation["road_users"]:
                self.see(seen, self.past[-1 - late], late * self.step)
        self.users = {name: user for name, user in self.users.items() if user.unseen < FORGET}
        return [self.relative(user, ego) for user in self.users.values()]

    def see(self, seen, then, late):
        """Correct one user by what was measured `late` seconds ago, when we were `then`."""
        vx, vy = seen["vx"] + then[2], seen["vy"] + then[3]
        x, y = seen["x"] + then[0] + vx * late, seen["y"] + then[1] + vy * late
        user = self.users.get(seen["id"])
        if user is None:
            self.users[seen["id"]] = User(seen, x, y, vx, vy)
            return
        user.raw.append(vx)
        if len(user.raw) == 3 and user.unseen < 1.5 * self.step:
            jump = abs(user.raw[0] - 2 * user.raw[1] + user.raw[2])
            self.noise = min(0.9 * self.noise + 0.1 * jump, 0.95 * self.noise + 0.03)  # a sudden braking is no noise
        gain = KNOWN_NOISE / (KNOWN_NOISE + self.noise)
        pace, elapsed = abs(user.vx) + abs(user.vy), max(user.unseen, self.step)
        user.x, user.y = user.x + gain * (x - user.x), user.y + gain * (y - user.y)
        user.vx, user.vy = user.vx + gain * (vx - user.vx), user.vy + gain * (vy - user.vy)
        user.ax += min(gain, 0.5) * ((abs(user.vx) + abs(user.vy) - pace) / elapsed - user.ax)
        user.heading, user.unseen = seen["heading"], 0.0
        user.drifted = abs(user.y - user.began)

    def relative(self, user, ego):
        """A copy of it as seen from us, now."""
        copy = object.__new__(User)
        copy.__dict__.update(user.__dict__)
        copy.x, copy.y = user.x - self.way, user.y - ego["lateral_offset"]
        return copy
