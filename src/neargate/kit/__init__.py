"""kit: what every floor may use and nothing more: clock, ids, settings, errors, telemetry."""
