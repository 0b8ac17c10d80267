/** How networks are made that weft carries. */
export const createHint =
  "docker network create -d weft --ipam-driver weft --subnet SUBNET -o weft.network=NETWORK NAME, with the network and a subnet of weft's";
