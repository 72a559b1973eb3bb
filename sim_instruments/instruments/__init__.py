"""Byte-level fakes of the laboratory's instruments, written from the manuals' facts, independently of the drivers."""
