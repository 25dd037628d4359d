"""Ways to break each rule in a copy of the project: (rule, what is done, file, pattern, replacement).

A pattern is a regular expression that must be found in the file; a pattern of None replaces the file's whole
text, a replacement of None deletes the file.
"""

COMPOSE = "srcs/docker-compose.yml"
REQUIREMENTS = "srcs/requirements"
WORDPRESS_SERVICE = r"(?m)^  wordpress:\n    <<: \*service\n"

MUTATIONS = [
    (1, "the Makefile builds by hand", "Makefile", r"docker[ -]compose", "docker run"),
    (1, "the compose file lies elsewhere", COMPOSE, None, None),
    (1, "a service is built outside srcs/", COMPOSE, r"build: requirements/bonus/website", "build: ../srcs-of-another/website"),
    (2, "a Dockerfile is empty", f"{REQUIREMENTS}/bonus/ftp/Dockerfile", None, ""),
    (2, "a Dockerfile is missing", f"{REQUIREMENTS}/bonus/redis/Dockerfile", None, None),
    (2, "an image has another name", COMPOSE, r"image: mariadb:", "image: database:"),
    (2, "two services share a Dockerfile", COMPOSE, r"build: requirements/bonus/website", "build: requirements/nginx"),
    (3, "a ready-made image", f"{REQUIREMENTS}/nginx/Dockerfile", r"(?m)^FROM debian:bookworm$", "FROM nginx:1.22"),
    (3, "the newest Debian", f"{REQUIREMENTS}/mariadb/Dockerfile", r"(?m)^FROM debian:bookworm$", "FROM debian:trixie"),
    (3, "no tag", f"{REQUIREMENTS}/mariadb/Dockerfile", r"(?m)^FROM debian:bookworm$", "FROM debian"),
    (3, "latest", COMPOSE, r"image: nginx:inception", "image: nginx:latest"),
    (4, "a password in a Dockerfile", f"{REQUIREMENTS}/mariadb/Dockerfile", r"(?m)^EXPOSE 3306", "ENV DB_PASSWORD=hunter2\nEXPOSE 3306"),
    (4, "a password in the environment", COMPOSE, r"      DB_NAME: ", "      DB_PASSWORD: hunter2\n      DB_NAME: "),
    (4, "a password among the settings", "srcs/.env.example", r"(?m)^DB_USER=", "DB_PASSWORD=hunter2\nDB_USER="),
    (4, "git would take srcs/.env", "srcs/.gitignore", None, ""),
    (5, "the host's network", COMPOSE, WORDPRESS_SERVICE, r"\g<0>    network_mode: host\n"),
    (5, "links", COMPOSE, WORDPRESS_SERVICE, r"\g<0>    links: [mariadb]\n"),
    (5, "no network declared", COMPOSE, r"(?m)^networks:\n  inception:\n    driver: bridge\n", ""),
    (6, "tail -f as command", COMPOSE, WORDPRESS_SERVICE, r"\g<0>    command: tail -f /dev/null\n"),
    (6, "a shell as entrypoint", f"{REQUIREMENTS}/nginx/Dockerfile", r"ENTRYPOINT \[.*", 'ENTRYPOINT ["bash"]'),
    (6, "an endless loop in the entrypoint", f"{REQUIREMENTS}/mariadb/tools/start", r"(?m)^umask 077", "while true; do :; done\numask 077"),
    (6, "a server in the background", f"{REQUIREMENTS}/mariadb/tools/start", r"exec mariadbd --port=\S+ ;;", "mariadbd &\n    ;;"),
    (6, "the entrypoint stays PID 1", f"{REQUIREMENTS}/bonus/redis/tools/start", r"exec redis-server", "redis-server"),
    (7, "port 80 too", COMPOSE, r'ports: \["443:443"\]', 'ports: ["443:443", "80:80"]'),
    (7, "the database is open", COMPOSE, r"(?m)^    image: mariadb:inception\n", r'\g<0>    ports: ["3306:3306"]' + "\n"),
    (7, "TLS 1.1", f"{REQUIREMENTS}/nginx/conf/nginx.conf", r"ssl_protocols TLSv1.2", "ssl_protocols TLSv1.1 TLSv1.2"),
    (7, "plain HTTP", f"{REQUIREMENTS}/nginx/conf/nginx.conf", r"(?m)^        listen 443", "        listen 80;\n        listen 443"),
    (8, "a web server in the WordPress image", f"{REQUIREMENTS}/wordpress/tools/unpack-php", r"php8.2-fpm php8.2-mysql", "nginx php8.2-fpm php8.2-mysql"),
    (8, "a web server beside the database", f"{REQUIREMENTS}/mariadb/Dockerfile", r"mariadb-server-core", "nginx mariadb-server-core"),
    (9, "data elsewhere", COMPOSE, r"/data/mariadb", "/database"),
    (9, "a bind in place of a volume", COMPOSE, r"- wordpress:/var/www/html\n    tmpfs: \[/tmp\]\n    depends_on", "- /home/x/data/wordpress:/var/www/html\n    tmpfs: [/tmp]\n    depends_on"),
    (10, "no restart", COMPOSE, r"restart: unless-stopped", 'restart: "no"'),
    (11, "admin in the administrator's name", "srcs/.env.example", r"WP_ADMIN_USER=keeper", "WP_ADMIN_USER=SuperAdmin"),
    (11, "one user", "srcs/.env.example", r"WP_AUTHOR_USER=writer", "WP_AUTHOR_USER=keeper"),
    (12, "another domain", "srcs/.env.example", r"DOMAIN=CHANGE_ME.42.fr", "DOMAIN=example.org"),
    (13, "root has no password", COMPOSE, r"secrets: \[db_password, db_root_password\]", "secrets: [db_password]"),
    (14, "down after a reboot", COMPOSE, r"restart: unless-stopped", "restart: on-failure"),
    (15, "a document is missing", "USER_DOC.md", None, None),
    (15, "a document is empty", "DEV_DOC.md", None, "\n"),
]
