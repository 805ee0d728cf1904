"""(recipe, census, target) → Plan."""

from toolkit.plan.planner import make_plan
from toolkit.plan.types import Action, Copy, Plan, Refusal, ShardPlan

__all__ = ["Action", "Copy", "Plan", "Refusal", "ShardPlan", "make_plan"]
