"""The region served here and its three availability zones. Called by gateway/dispatch."""

from typing import Final

from neargate.model import addresses
from neargate.services.call import Call, Params, Result
from neargate.services.ec2.listing import Json, Listing, Named, check_dry_run, select

_ZONES: Final = Listing(
    "AvailabilityZones",
    "ZoneName",
    {
        "ZoneNames": Named("ZoneName", "InvalidParameterValue", "Invalid availability zone: [{}]"),
        "ZoneIds": Named("ZoneId", "InvalidParameterValue", "Invalid availability zone-id: [{}]"),
    },
    {
        "group-long-name": "GroupLongName",
        "group-name": "GroupName",
        "message": "Messages.Message",
        "opt-in-status": "OptInStatus",
        "parent-zone-id": "ParentZoneId",
        "parent-zone-name": "ParentZoneName",
        "region-name": "RegionName",
        "state": "State",
        "zone-id": "ZoneId",
        "zone-name": "ZoneName",
        "zone-type": "ZoneType",
    },
    tags=None,
)
_REGIONS: Final = Listing(
    "Regions",
    "RegionName",
    {"RegionNames": Named("RegionName", "InvalidParameterValue", "Invalid region: [{}]")},
    {"endpoint": "Endpoint", "opt-in-status": "OptInStatus", "region-name": "RegionName"},
    tags=None,
)


async def describe_availability_zones(call: Call, params: Params) -> Result:
    check_dry_run(params)
    region = call.scope.region
    return select(_ZONES, params, [_zone(region, name, id) for name, id in addresses.zones(region)])


def _zone(region: str, name: str, id: str) -> Json:
    return {
        "ZoneName": name,
        "ZoneId": id,
        "RegionName": region,
        "State": "available",
        "OptInStatus": "opt-in-not-required",
        "ZoneType": "availability-zone",
        "GroupName": f"{region}-zg-1",
        "NetworkBorderGroup": region,
        "Messages": [],
    }


async def describe_regions(call: Call, params: Params) -> Result:
    check_dry_run(params)
    region = call.scope.region
    shown = {
        "RegionName": region,
        "Endpoint": f"ec2.{region}.amazonaws.com",
        "OptInStatus": "opt-in-not-required",
    }
    return select(_REGIONS, params, [shown])
