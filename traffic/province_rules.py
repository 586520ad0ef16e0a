"""The rules that an instance begins with; from then on the table alone counts (each change is a new version).

`note` says where a clause should be looked up before anyone relies on its wording.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from chinese_calendar import constants as calendar

from traffic.roads.cycle import DEFAULTS as ROADS
from traffic.rule_kinds import KINDS

HOLIDAYS_SINCE = 2024  # year
RULES_SINCE = "2024-01-01T00:00:00+08:00"
UNCHECKED = "条款名称据公开资料整理，条号与原文使用前须由法制部门核对"
PRACTICE = "通行做法，非法定条款；阈值须由本单位核定"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRow:
    """The first version of a rule, as table `rule` has it."""

    id: int
    kind: str
    name: str
    clause: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    scope: Mapping[str, Any] = field(default_factory=dict)
    schedule: Mapping[str, Any] = field(default_factory=dict)
    exemptions: Mapping[str, Any] = field(default_factory=dict)
    lateness_s: int = 900
    level: int | None = None
    state: str = "armed"
    note: str = ""


def _road(number: int, kind: str, name: str, clause: str) -> RuleRow:
    return RuleRow(id=number, kind=kind, name=name, clause=clause, parameters=ROADS[kind])


def _vehicle(number: int, kind: str, name: str, clause: str, **more: Any) -> RuleRow:
    """A rule of vehicles with its kind's defaults, but for the `parameters` that are given."""
    parameters = {**KINDS[kind].defaults, **more.pop("parameters", {})}
    return RuleRow(id=number, kind=kind, name=name, clause=clause, parameters=parameters, **more)


_COACHES = ["tour_coach", "scheduled_coach"]
_CAREFULLY_WATCHED = [*_COACHES, "hazardous_goods"]
_NIGHT = {"hours": [["00:00", "06:00"]]}

RULES: tuple[RuleRow, ...] = (
    _vehicle(1, "watch_hit", "布控车辆比中", "经审批的布控申请（缉查布控）"),
    _vehicle(
        2,
        "section_speed",
        "区间平均速度超过限速",
        "《道路交通安全法》第四十二条；GA/T 959《机动车区间测速技术规范》",
    ),
    _vehicle(
        3,
        "cloned_plate",
        "套牌嫌疑",
        "《道路交通安全法》第十六条第四项、第九十六条",
        note=UNCHECKED,
    ),
    _vehicle(
        4,
        "driving_time",
        "客车、危险货物运输车疲劳驾驶",
        "《道路旅客运输企业安全管理规范》驾驶时间与休息：连续驾驶日间不超过4小时、夜间不超过2小时，休息不少于20分钟，"
        "24小时累计不超过8小时，7日累计不超过44小时；《道路交通安全法实施条例》第六十二条第七项",
        scope={"kinds": _CAREFULLY_WATCHED},
        note=UNCHECKED,
    ),
    _vehicle(
        41,
        "driving_time",
        "重型货车疲劳驾驶",
        "《道路交通安全法实施条例》第六十二条第七项：连续驾驶不超过4小时，停车休息不少于20分钟",
        parameters={"night_limit_min": 240, "limit_24h_min": 1440, "limit_7d_min": 10_080},
        scope={"kinds": ["heavy_truck"]},
        note=UNCHECKED,
    ),
    _vehicle(
        5,
        "night_running",
        "长途客车凌晨2时至5时运行",
        "国发〔2012〕30号《关于加强道路交通安全工作的意见》；《道路旅客运输企业安全管理规范》夜间停运与接驳",
        scope={"kinds": _COACHES},
        exemptions={
            "permits": ["relay"],
            "route_kinds": ["airport", "high_speed_rail"],
            "route_km_max": 100,
        },
        level=2,
        note=UNCHECKED,
    ),
    _vehicle(
        6,
        "ban",
        "危险货物运输车禁行时段驶入高速公路",
        "《危险货物道路运输安全管理办法》（2019年）限制通行条款：高速公路禁行时段不超出0时至6时",
        scope={"kinds": ["hazardous_goods"], "road_kinds": ["expressway"]},
        schedule=_NIGHT,
        exemptions={"permits": ["pass"]},
        level=2,
        note=UNCHECKED,
    ),
    _vehicle(
        7,
        "route_deviation",
        "危险货物运输车偏离许可路线",
        "《危险化学品安全管理条例》第四十九条、第五十条；《危险货物道路运输安全管理办法》（2019年）",
        scope={"kinds": ["hazardous_goods"]},
        note=UNCHECKED,
    ),
    _vehicle(
        8,
        "overspeed",
        "重点车辆超速行驶",
        "《道路交通安全法》第四十二条；《道路交通安全法实施条例》第四十五条、第七十八条",
        note=UNCHECKED,
    ),
    _vehicle(
        81,
        "overspeed",
        "危险货物运输车高速公路超过80公里/小时",
        "《危险货物道路运输安全管理办法》（2019年）车速限制条款",
        parameters={"limit_kmh": 80},
        scope={"kinds": ["hazardous_goods"], "road_kinds": ["expressway"]},
        state="draft",
        note=UNCHECKED,
    ),
    _vehicle(
        82,
        "overspeed",
        "客车、货车高速公路超过100公里/小时",
        "《道路交通安全法实施条例》第七十八条：小型载客汽车以外的机动车在高速公路上最高车速不得超过每小时100公里",
        parameters={"limit_kmh": 100},
        scope={"kinds": [*_CAREFULLY_WATCHED, "heavy_truck", "school_bus"], "road_kinds": ["expressway"]},
        note=UNCHECKED,
    ),
    _vehicle(
        9,
        "registry_state",
        "逾期未检验车辆上路行驶",
        "《道路交通安全法》第十三条；《道路交通安全法实施条例》第十六条",
        parameters={"condition": "overdue_inspection"},
        note=UNCHECKED,
    ),
    _vehicle(
        10,
        "registry_state",
        "已报废或达到报废期限车辆上路行驶",
        "《道路交通安全法》第十四条、第一百条；《机动车强制报废标准规定》",
        parameters={"condition": "scrapped"},
        note=UNCHECKED,
    ),
    _vehicle(
        11,
        "registry_state",
        "已注销或虚假登记车辆上路行驶",
        "《道路交通安全法》第八条、第十六条、第九十六条",
        parameters={"condition": "false_registered"},
        note=UNCHECKED,
    ),
    _vehicle(
        12,
        "registry_state",
        "营转非大客车出行",
        "营转非大客车重点管控（通行做法）；《机动车强制报废标准规定》",
        parameters={"condition": "ex_commercial"},
        note=PRACTICE,
    ),
    _vehicle(
        13,
        "overdue_arrival",
        "客车、危险货物运输车逾期未到达下一卡口",
        "重点车辆动态管控（通行做法）",
        scope={"kinds": _CAREFULLY_WATCHED},
        note=PRACTICE,
    ),
    _vehicle(
        14,
        "long_stop",
        "客车、危险货物运输车在行车道路上长时间停车",
        "《道路交通安全法实施条例》第八十二条；重点车辆动态管控（通行做法）",
        scope={"kinds": _CAREFULLY_WATCHED, "road_kinds": ["expressway", "trunk"]},
        note=PRACTICE,
    ),
    _vehicle(15, "geofence", "重点车辆进入禁入区域", "划定该区域的公告（逐个围栏核定）", note=PRACTICE),
    _vehicle(
        16,
        "device_alarm",
        "车载终端报警",
        "JT/T 808 报警标志位；《道路运输车辆动态监督管理办法》",
        note=UNCHECKED,
    ),
    _vehicle(
        17,
        "position_mismatch",
        "卫星定位与过车记录不符",
        "《道路运输车辆动态监督管理办法》；《道路交通安全法》第十六条",
        note=UNCHECKED,
    ),
    _vehicle(
        61,
        "ban",
        "校车在许可时间或线路以外行驶",
        "《校车安全管理条例》校车使用许可：按核定的时间、路线行驶",
        scope={"kinds": ["school_bus"]},
        exemptions={"permits": ["school_bus"]},
        level=3,
        note=UNCHECKED,
    ),
    _vehicle(
        62,
        "ban",
        "法定节假日危险货物运输车驶入高速公路",
        "公安机关节假日交通管制公告",
        scope={"kinds": ["hazardous_goods"], "road_kinds": ["expressway"]},
        schedule={"holidays": "only"},
        exemptions={"permits": ["pass"]},
        level=2,
        state="draft",
        note="按当年公告核定起止时间后启用",
    ),
    _road(101, "link_levels", "路段交通状态分级", "城市快速路拥堵分级（通行做法）；其他道路按自由流速度比例"),
    _road(102, "sensor_health", "检测设备健康判定", "检测器自动故障判定（通行做法）"),
    _road(103, "congestion", "拥堵事件判定", "本系统规则"),
    _road(104, "incident_detection", "交通事件自动检测", "本系统规则"),
    _road(105, "road_risk", "路段安全风险评估", "专家权重，未经事故数据标定"),
    _road(106, "weather_limits", "恶劣天气通行条件", "《道路交通安全法实施条例》第八十一条"),
)


def holidays() -> list[tuple[date, str, str]]:
    """Days off and weekends that are worked (调休), of the years that the calendar knows: day, kind, name."""
    chinese = {holiday.value: holiday.chinese for holiday in calendar.Holiday}
    days = [(day, "holiday", chinese[name]) for day, name in calendar.holidays.items()]
    days += [(day, "working", f"{chinese[name]}调休上班") for day, name in calendar.workdays.items()]
    return sorted(row for row in days if row[0].year >= HOLIDAYS_SINCE)
