"""Networks side by side: parameters, operations, times, memory."""
