"""Risk of links: which factors raise it, and how they add up."""

from traffic.risk.model import DEFAULTS, FACTORS, Memory, RiskRule, assess, from_parameters

__all__ = ["DEFAULTS", "FACTORS", "Memory", "RiskRule", "assess", "from_parameters"]
