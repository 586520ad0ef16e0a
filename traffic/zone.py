"""The time zone of people and of GA/T 1400's local times."""

from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")
