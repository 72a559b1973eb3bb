"""Ways to plug a fake in: in process (pyserial URL, pyvisa backend), across processes (TCP, terminal, ZeroMQ)."""
