"""BLUE_GREEN, LINEAR and CANARY: the stages of a deployment, and the traffic that it gets. Pure."""


def weights_of(percent: float) -> tuple[int, int]:
    """Weights of the old and the new target group; AWS takes whole numbers up to 999."""
    tenths = round(percent * 10)
    if tenths % 10 == 0:
        return 100 - tenths // 10, tenths // 10
    return 1000 - tenths, tenths
