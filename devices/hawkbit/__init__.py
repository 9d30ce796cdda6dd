"""The Direct Device Integration API of Eclipse hawkBit, for devices that speak it already."""
