"""All that can be wrong with an Envoy."""

from tests.doctor.case import Case
from tests.doctor.cases_of_clusters import CLUSTERS
from tests.doctor.cases_of_filters import FILTERS
from tests.doctor.cases_of_routes import ROUTES

CASES: tuple[Case, ...] = (*FILTERS, *ROUTES, *CLUSTERS)

SECOND = ("egress/stub", "egress/secure")
"""The clusters that carry the upstream filter in each of these gateways."""
