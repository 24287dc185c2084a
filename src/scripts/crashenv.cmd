@echo off
if exist "%~dp0python.exe" ("%~dp0python.exe" -m crashenv %*) else ("%~dp0..\python.exe" -m crashenv %*)
