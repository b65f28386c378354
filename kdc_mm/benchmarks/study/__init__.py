"""Studies: networks trained alike, so that what differs between their figures is the method."""
