"""Closed-loop driving: the next action of a vehicle, step by step, in scenarios that a simulator plays."""

from livinglab.domain.tasks import Better, Column, Metric, TaskFamily

CLOSED_LOOP_DRIVING = TaskFamily(
    name="closed-loop-driving",
    title="Acceleration and steering of a vehicle, step by step, in simulated traffic",
    inputs={
        "task.json": "step lengths, deadlines, ranges of the actions, sizes of road users, and what the scenarios are about",
        "examples.json": "a few scenarios of each family, with all that happens in them; none of them is driven when it counts",
    },
    protocol="livinglab.step/1",
    observations={
        "ego": "the vehicle's `speed` and `lateral_speed` (m/s), `acceleration` (m/s²), `lateral_offset` from where it began (m, to the left), "
        "`length`, `width` (m), and `set_speed`, which to keep where nothing is in the way (m/s)",
        "road": "`lane_width` (m), `lanes_right` and `lanes_left` in the same direction, `speed_limit` (m/s); `junction` (`stop_line` and `clear` in "
        "metres ahead, `right_of_way`) and `zebra` (`begins` and `ends`, metres ahead), or null",
        "age": "how old the sight of others is (s)",
        "road_users": "who can be seen: `id`, `kind` (car, lorry or pedestrian), `x` ahead and `y` to the left, middle to middle (m), `vx`, `vy` "
        "relative to the vehicle (m/s), `heading` (rad from the road's direction), `length`, `width` (m); null where nothing was received",
    },
    actions=(
        Column(name="acceleration", kind="number", low=-9.0, high=4.0, meaning="along the road, until the next step (m/s²)"),
        Column(name="lateral_acceleration", kind="number", low=-3.0, high=3.0, meaning="across the road, to the left if positive (m/s²)"),
    ),
    metrics=(
        Metric(
            name="completeness",
            title="Share of the steps asked for whose answer is finite and in range",
            better=Better.HIGHER,
            low=0,
            high=1,
            source="livinglab: at a step without a usable answer the vehicle coasts, and the step counts",
        ),
        Metric(
            name="on_time",
            title="Share of the answers that came before the deadline",
            better=Better.HIGHER,
            low=0,
            high=1,
            source="livinglab; Regulation (EU) 2022/1426, Annex II (control in real time)",
        ),
        Metric(
            name="preventable_collision_rate",
            title="Collisions per scenario that a careful driver gets through",
            better=Better.LOWER,
            low=0,
            high=1,
            source="Regulation (EU) 2022/1426, Annex III (preventable collisions); Clopper & Pearson 1934, Biometrika 26:404",
        ),
        Metric(
            name="collision_rate",
            title="Collisions per scenario, whether or not anybody could have prevented them",
            better=Better.LOWER,
            low=0,
            high=1,
            source="Clopper & Pearson 1934, Biometrika 26:404",
        ),
        Metric(
            name="collisions_per_1000_km",
            title="Collisions per 1,000 km driven",
            better=Better.LOWER,
            low=0,
            source="Kalra & Paddock 2016, Transp Res A 94:182 (rates by distance); Garwood 1936, Biometrika 28:437",
        ),
        Metric(
            name="ttc_exposure",
            title="Share of the time with a time to collision at or below the stated threshold",
            better=Better.LOWER,
            low=0,
            high=1,
            source="Minderhoud & Bovy 2001, Accid Anal Prev 33:89 (time exposed TTC); van der Horst & Hogema 1993 (1.5 s)",
        ),
        Metric(
            name="close_following",
            title="Share of the time behind somebody, and moving, with less than the minimum following distance",
            better=Better.LOWER,
            low=0,
            high=1,
            source="UN Regulation No 157, 5.2.3.3 (up to 60 km/h; above it its last time gap of 1.6 s is kept here)",
        ),
        Metric(
            name="narrow_encounters",
            title="Share of scenarios with crossing paths and a post-encroachment time below the stated threshold, or a collision",
            better=Better.LOWER,
            low=0,
            high=1,
            source="Allen, Shin & Cooper 1978, Transp Res Rec 667:67 (PET)",
        ),
        Metric(
            name="lateral_exposure",
            title="Share of the time with a lateral acceleration above the stated threshold",
            better=Better.LOWER,
            low=0,
            high=1,
            source="UN Regulation No 79, 5.6.2 (limits of lateral acceleration); ISO 15622:2018 (comfort of assisted driving)",
        ),
        Metric(
            name="jerk_exposure",
            title="Share of the time with a jerk, averaged over a second, above the stated threshold",
            better=Better.LOWER,
            low=0,
            high=1,
            source="ISO 15622:2018 (mean rate of change of deceleration over one second)",
        ),
        Metric(
            name="hard_braking",
            title="Share of scenarios in which the vehicle brakes hard though no collision threatens ahead",
            better=Better.LOWER,
            low=0,
            high=1,
            source="livinglab; Clopper & Pearson 1934; van der Horst & Hogema 1993 (a time to collision of 4 s as the limit of control)",
        ),
        Metric(
            name="progress",
            title="Distance over that of the simulator's own driver, in the same scenarios and the same time",
            better=Better.HIGHER,
            low=0,
            source="livinglab: whoever stands still collides with nobody; paired resampling of scenarios",
        ),
        Metric(
            name="co2_ratio",
            title="CO2 per kilometre over that of the simulator's own driver, in the same scenarios",
            better=Better.LOWER,
            low=0,
            source="Krajzewicz et al. 2015, in: Modeling Mobility with Open Data (emissions in SUMO); paired resampling of scenarios",
        ),
    ),
)
